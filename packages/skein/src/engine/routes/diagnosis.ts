/** /skein/…: what Skein shows of itself beyond Docker's API. */
import { SkeinError } from '../../common/index.ts';
import { get, json } from '../reply.ts';
import type { Engine, Route } from '../types.ts';

export function diagnosisRoutes(engine: Engine): Route[] {
  return [
    get('/skein/gossip', () => {
      const report = engine.diagnosis.gossip();
      if (!report) throw new SkeinError('Unavailable', 'This node is not part of a swarm: it has no gossip');
      return json(report);
    }),
  ];
}
