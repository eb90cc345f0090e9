/**
 * fast-path: TCP and UDP between containers without the detour over bridge and VXLAN device, by programs on links.
 *
 * It owns the programs (fast-path.bpf.c), their maps, the gate of each network, and what is attached to ports, gates and
 * the underlay's link. It learns nothing: the maps say what the forwarding and neighbour rows say. All else in this room
 * works without it.
 */
export { type FastPathMode, openFastPath } from './fast-path.ts';
export { planEndpoints, planPeers } from './plan.ts';
export type * from './types.ts';
export { defaultLargestSegment } from './underlay-link.ts';
