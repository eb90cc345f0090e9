import type { Control } from '../types.ts';
import { clusterControl } from './cluster.ts';
import { configControl } from './configs.ts';
import { networkControl } from './networks.ts';
import { nodeControl } from './nodes.ts';
import type { ControlOptions } from './options.ts';
import { secretControl } from './secrets.ts';
import { serviceControl } from './services.ts';
import { taskControl } from './tasks.ts';

/** @returns the cluster's control on a store. The loops (startManagerLoops) do what it writes. */
export function createControl(options: ControlOptions): Control {
  return {
    store: options.store,
    ...clusterControl(options),
    ...nodeControl(options),
    ...networkControl(options),
    ...serviceControl(options),
    ...taskControl(options),
    ...secretControl(options),
    ...configControl(options),
  };
}
