/** All endpoints, by group. */
import type { Engine, Route } from '../types.ts';
import { absentRoutes } from './absent.ts';
import { containerFileRoutes } from './container-files.ts';
import { containerRoutes } from './containers.ts';
import { diagnosisRoutes } from './diagnosis.ts';
import { execRoutes } from './exec.ts';
import { imageRoutes } from './images.ts';
import { logRoutes } from './logs.ts';
import { networkGrowthRoutes } from './network-growth.ts';
import { networkRoutes } from './networks.ts';
import { nodeRoutes } from './nodes.ts';
import { secretRoutes } from './secrets.ts';
import { serviceRoutes } from './services.ts';
import { swarmRoutes } from './swarm.ts';
import { systemRoutes } from './system.ts';
import { taskRoutes } from './tasks.ts';
import { volumeRoutes } from './volumes.ts';

export function allRoutes(engine: Engine): Route[] {
  return [
    ...systemRoutes(engine),
    ...swarmRoutes(engine),
    ...nodeRoutes(engine),
    ...serviceRoutes(engine),
    ...taskRoutes(engine),
    ...secretRoutes(engine),
    ...networkRoutes(engine),
    ...networkGrowthRoutes(engine),
    ...containerRoutes(engine),
    ...containerFileRoutes(engine),
    ...execRoutes(engine),
    ...logRoutes(engine),
    ...imageRoutes(engine),
    ...volumeRoutes(engine),
    ...diagnosisRoutes(engine),
    ...absentRoutes(),
  ];
}
