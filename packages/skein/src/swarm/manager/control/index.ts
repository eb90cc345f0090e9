/**
 * control: what users may ask of the cluster, checked and put into the store (swarmkit's Control service). Errors read
 * as dockerd prints them: with `rpc error:` where swarmkit's manager says them, without where the daemon does.
 */
export { createControl } from './control.ts';
export type { ControlOptions } from './options.ts';
