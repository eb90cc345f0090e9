import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { create } from '@bufbuild/protobuf';
import type { EngineEvent } from '../../common/index.ts';
import type { ContainerState } from '../../container/types.ts';
import { NodeSchema } from '../../swarm/gen/objects_pb.js';
import { NodeSpec_Availability } from '../../swarm/gen/specs_pb.js';
import { NodeStatus_State } from '../../swarm/gen/types_pb.js';
import { clusterEvent } from './cluster-events.ts';
import { statusText } from './container.ts';
import { eventMatches } from './events.ts';
import { readLimits, readMachine } from './host.ts';

const never = '0001-01-01T00:00:00Z';
const now = Date.parse('2026-11-25T12:00:00Z');
const state = (change: Partial<ContainerState>): ContainerState => ({
  Status: 'running',
  Running: false,
  Paused: false,
  Restarting: false,
  OOMKilled: false,
  Dead: false,
  Pid: 0,
  ExitCode: 0,
  Error: '',
  StartedAt: '2026-11-25T11:55:00Z',
  FinishedAt: never,
  ...change,
});

describe('the status of a container', () => {
  it("is said in Docker's words", () => {
    const health = (Status: string) => ({ Health: { Status, FailingStreak: 0, Log: [] } });
    const cases: readonly (readonly [Partial<ContainerState>, string])[] = [
      [{ Running: true }, 'Up 5 minutes'],
      [{ Running: true, Paused: true }, 'Up 5 minutes (Paused)'],
      [{ Running: true, ...health('healthy') }, 'Up 5 minutes (healthy)'],
      [{ Running: true, ...health('starting') }, 'Up 5 minutes (health: starting)'],
      [{ Running: true, ...health('none') }, 'Up 5 minutes'],
      [{ FinishedAt: '2026-11-25T11:59:57Z' }, 'Exited (0) 3 seconds ago'],
      [{ FinishedAt: '2026-11-25T11:59:00Z', ExitCode: 137 }, 'Exited (137) About a minute ago'],
      [{ StartedAt: never, Status: 'created' }, 'Created'],
      [{ Status: 'removing' }, 'Removal In Progress'],
      [{ Dead: true }, 'Dead'],
    ];
    for (const [change, text] of cases) assert.equal(statusText(state(change), now), text);
  });
});

describe('events', () => {
  const event = (change: Partial<EngineEvent>): EngineEvent => ({
    type: 'container',
    action: 'exec_start: sh -c x',
    actor: { id: 'abcdef', attributes: { name: 'web.1', image: 'ubuntu:latest', role: 'db' } },
    scope: 'local',
    timeNano: 1n,
    ...change,
  });

  it('are chosen by object, action, label, type and scope', () => {
    const yes: Record<string, string[]>[] = [
      {},
      { container: ['abc'] },
      { container: ['web.1'] },
      { event: ['exec_start'] },
      { image: ['ubuntu:latest'] },
      { label: ['role=db'] },
      { type: ['network', 'container'] },
      { scope: ['local'] },
    ];
    for (const filters of yes) assert.equal(eventMatches(event({}), filters), true, JSON.stringify(filters));
    const no: Record<string, string[]>[] = [
      { container: ['x'] },
      { event: ['exec'] },
      { image: ['x'] },
      { label: ['role=x'] },
      { type: ['network'] },
      { scope: ['swarm'] },
      { network: ['abcdef'] },
    ];
    for (const filters of no) assert.equal(eventMatches(event({}), filters), false, JSON.stringify(filters));
  });

  it('say what has changed of a node', () => {
    const node = (availability: NodeSpec_Availability, stateNow: NodeStatus_State) =>
      create(NodeSchema, {
        id: 'n1',
        description: { hostname: 'node1' },
        spec: { availability },
        status: { state: stateNow },
      });
    const told = clusterEvent({
      action: 'update',
      table: 'node',
      object: node(NodeSpec_Availability.DRAIN, NodeStatus_State.DOWN),
      previous: node(NodeSpec_Availability.ACTIVE, NodeStatus_State.READY),
    });
    assert.deepEqual(told?.actor.attributes, {
      name: 'node1',
      'availability.old': 'active',
      'availability.new': 'drain',
      'state.old': 'ready',
      'state.new': 'down',
    });
    assert.deepEqual([told?.type, told?.action, told?.scope], ['node', 'update', 'swarm']);
  });
});

it("tells this machine's facts", () => {
  const machine = readMachine();
  assert.ok(
    machine.processors > 0 && machine.memory > 0 && machine.kernelVersion !== '' && machine.operatingSystem !== '',
  );
  for (const version of ['1', '2'] as const) {
    for (const value of Object.values(readLimits(version))) assert.equal(typeof value, 'boolean');
  }
});
