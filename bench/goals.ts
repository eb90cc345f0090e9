/** The goals of the project, as figures of one run. */

import type { Contestant } from './contestants.ts';
import { type Figure, medianOf, type Results, ratioOf } from './results.ts';

export interface Goal {
  readonly what: string;
  readonly relation: '≥' | '≤';
  readonly goal: number;
  readonly unit: string;
  /** What others reach, as published. */
  readonly reference: string;
  /** NaN where something that it needs was not measured. */
  value(results: Results): number;
  /** The same ratio by CPU cost: it holds on a machine that has other work, too. */
  readonly byCpu?: (results: Results) => number;
}

type Value = (results: Results) => number;

const of = (measure: string, contestant: Contestant = 'skein'): Figure => ({ measure, contestant });
const figure =
  (measure: string): Value =>
  (results) =>
    medianOf(results, measure, 'skein') ?? Number.NaN;
const ratio =
  (over: Figure, under: Figure): Value =>
  (results) =>
    ratioOf(results, over, under);
const overBare = (measure: string): Value => ratio(of(measure), of(measure, 'bare'));
const overDocker = (measure: string): Value => ratio(of(measure), of(measure, 'dockerd'));

function goal(
  what: string,
  value: Value,
  relation: Goal['relation'],
  number: number,
  unit: string,
  reference = '',
): Goal {
  return { what, value, relation, goal: number, unit, reference };
}

/** A ratio of rates of the traffic section, with the ratio of the CPU costs beside it. */
function trafficGoal(what: string, measure: string, over: Contestant, number: number, reference = ''): Goal {
  const value = ratio(of(measure), of(measure, over));
  const byCpu = ratio(of(`${measure}.cpu`, over), of(`${measure}.cpu`));
  return { what, value, byCpu, relation: '≥', goal: number, unit: '', reference };
}

export const goals: readonly Goal[] = [
  trafficGoal('TCP_RR, overlay ÷ host', 'far.rr', 'bare', 0.9, 'dockerd 0.65, ONCache 0.83–0.94'),
  trafficGoal('TCP_RR, overlay ÷ host, nat rules', 'rules.rr', 'bare', 1),
  trafficGoal('TCP_CRR, overlay ÷ host', 'far.crr', 'bare', 0.88, 'dockerd 0.58–0.67'),
  trafficGoal('TCP_CRR, overlay ÷ host, nat rules', 'rules.crr', 'bare', 1),
  trafficGoal('TCP stream, overlay ÷ host', 'far.stream', 'bare', 0.85, 'dockerd 0.57–0.66'),
  trafficGoal('TCP stream, overlay with large segments ÷ host without', 'usual.stream', 'bare', 1.1),
  trafficGoal('TCP_RR, Skein ÷ dockerd', 'far.rr', 'dockerd', 1.5),
  trafficGoal('TCP_CRR, Skein ÷ dockerd', 'far.crr', 'dockerd', 1.7),
  trafficGoal('TCP stream, Skein ÷ dockerd', 'far.stream', 'dockerd', 1.9),
  goal('CPU per byte, Skein ÷ dockerd', overDocker('far.stream.cpu'), '≤', 0.55, ''),
  goal(
    '50 tasks with an overlay, dockerd ÷ Skein',
    ratio(of('start.50.overlay.running', 'dockerd'), of('start.50.overlay.running')),
    '≥',
    4,
    '',
  ),
  goal(
    '50 tasks, overlay ÷ no network',
    ratio(of('start.50.overlay.running'), of('start.50.none.running')),
    '≤',
    1.15,
    '',
    'dockerd 2.0 (libnetwork#1622)',
  ),
  goal('endpoint usable on all nodes, p99', figure('cluster.usable.p99'), '≤', 0.6, 's', '1.8 s by the gossip model'),
  goal('dead node noticed, p50', figure('cluster.noticed.p50'), '≤', 2.5, 's', 'memberlist 6–8 s'),
  goal('names lost while nodes stop for 2 s of every 5', figure('cluster.false'), '≤', 0, ''),
  goal('task of a dead node runs elsewhere', figure('cluster.replaced'), '≤', 6, 's', 'swarmkit ≥ 15 s'),
  goal(
    'virtual IP ÷ direct, TCP_CRR, 1 service',
    ratio(of('vip.crr.1'), of('direct.crr.1')),
    '≥',
    0.97,
    '',
    'nft 0.94',
  ),
  goal('virtual IP ÷ direct, TCP_RR, 1 service', ratio(of('vip.rr.1'), of('direct.rr.1')), '≥', 0.99, '', 'nft 0.86'),
  goal('virtual IP ÷ direct without our tables, TCP_CRR', overBare('vip.crr.1'), '≥', 0.97, '', 'nft 0.94'),
  goal('virtual IP ÷ direct without our tables, TCP_RR', overBare('vip.rr.1'), '≥', 0.99, '', 'nft 0.86'),
  goal(
    'virtual IP, TCP_CRR: 10,000 services ÷ 1',
    (results) => overBare('vip.crr.10000')(results) / overBare('vip.crr.1')(results),
    '≥',
    0.97,
    '',
  ),
  goal('DNS queries per second of one CPU', figure('dns.core'), '≥', 25_000, '1/s'),
  goal('DNS latency, p99', figure('dns.p99'), '≤', 2, 'ms'),
  goal('DNS queries per second, Skein ÷ dockerd', overDocker('dns.rate'), '≥', 1, ''),
  goal(
    'memory of daemon and containerd, Skein ÷ dockerd',
    overDocker('memory.idle'),
    '≤',
    0.6,
    '',
    'dockerd 135–170 MB',
  ),
  goal('memory per container', figure('memory.task'), '≤', 2, 'MB', 'about 12 MB'),
];

/** @returns whether a goal is reached; undefined where it was not measured. */
export function isReached({ relation, goal: wanted, value }: Goal, results: Results): boolean | undefined {
  const found = value(results);
  if (Number.isNaN(found)) return undefined;
  return relation === '≥' ? found >= wanted : found <= wanted;
}
