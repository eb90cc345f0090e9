/**
 * The walk-through: the commands of the reference, in order, on two hosts. The demo prints them; the end-to-end test
 * checks what each prints. Only the name of the command line differs between docker and skein.
 */
import type { Client, Cluster, Outcome } from './support/cluster.ts';
import { eventually } from './support/cluster.ts';

export interface Step extends Outcome {
  readonly host: string;
  readonly words: readonly string[];
}

/** What later steps and the checks need. */
export interface Story {
  readonly steps: readonly Step[];
  readonly containers: { readonly node1: string; readonly node2: string };
  readonly addresses: { readonly node1: string; readonly node2: string };
  /** The step whose words, joined, contain `text`; `nth` counts from 0. */
  find(host: string, text: string, nth?: number): Step;
}

const advertise = '172.31.1.5';

/**
 * Plays the story on `cluster` (two hosts, not in a swarm, image `ubuntu` present).
 * @param onStep is told each command with its output as it comes.
 * @throws Error when a command that has to work does not.
 */
export async function playStory(cluster: Cluster, client: Client, onStep: (step: Step) => void): Promise<Story> {
  const steps: Step[] = [];
  const run = (host: string, ...words: string[]): string => {
    const step = { host, words: [client, ...words], ...cluster.run(host, [client, ...words]) };
    steps.push(step);
    onStep(step);
    if (step.exitCode !== 0)
      throw new Error(`${host}$ ${step.words.join(' ')}: exit code ${step.exitCode}\n${step.stdout}${step.stderr}`);
    return step.stdout.trim();
  };

  const init = run('node1', 'swarm', 'init', `--advertise-addr=${advertise}`, `--listen-addr=${advertise}:2377`);
  const token = /--token (\S+)/.exec(init)?.[1];
  if (!token) throw new Error(`swarm init printed no token:\n${init}`);
  run('node2', 'swarm', 'join', '--token', token, `${advertise}:2377`);
  await untilTwoReady(cluster, client);
  run('node1', 'node', 'ls');
  run('node1', 'network', 'create', '-d', 'overlay', 'uber-net');
  run('node1', 'network', 'ls');
  run('node2', 'network', 'ls');
  run(
    'node1',
    'service',
    'create',
    '--name',
    'test',
    '--network',
    'uber-net',
    '--replicas',
    '2',
    'ubuntu',
    'sleep',
    'infinity',
  );
  run('node1', 'service', 'ls');
  run('node1', 'service', 'ps', 'test');
  run('node2', 'network', 'ls');
  run('node1', 'network', 'inspect', 'uber-net');
  run('node1', 'service', 'inspect', '--pretty', 'test');
  run('node1', 'container', 'ls');
  run('node2', 'container', 'ls');
  const containers = { node1: run('node1', 'container', 'ls', '-q'), node2: run('node2', 'container', 'ls', '-q') };
  const addressFormat = '--format={{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}';
  const addresses = {
    node1: run('node1', 'container', 'inspect', addressFormat, containers.node1),
    node2: run('node2', 'container', 'inspect', addressFormat, containers.node2),
  };
  const inside = (...words: string[]): string => run('node1', 'exec', containers.node1, ...words);
  inside('ping', '-c', '4', addresses.node2);
  inside('traceroute', addresses.node2);
  inside('nslookup', 'test');
  inside('nslookup', 'tasks.test');
  inside('nslookup', addresses.node2);
  inside('wget', '-q', '-O', '-', 'http://203.0.113.10/');
  inside('cat', '/etc/resolv.conf');
  inside('cat', '/etc/hosts');
  inside('ip', 'addr');
  inside('ip', 'route');
  run('node1', 'node', 'ps', 'self');
  run('node1', 'swarm', 'join-token', 'worker');
  const find = (host: string, text: string, nth = 0): Step => {
    const found = steps.filter((step) => step.host === host && step.words.join(' ').includes(text))[nth];
    if (!found) throw new Error(`the story has no step "${text}" on ${host}`);
    return found;
  };
  return { steps, containers, addresses, find };
}

/** A user sees the new node Ready within a moment; a script has to wait for it. */
async function untilTwoReady(cluster: Cluster, client: Client): Promise<void> {
  await eventually('two nodes ready', () =>
    cluster.must('node1', [client, 'node', 'ls', '--format', '{{.Status}}']).trim() === 'Ready\nReady'
      ? true
      : undefined,
  );
}
