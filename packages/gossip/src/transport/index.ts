/** How bytes get from node to node. Knows addresses, not messages. */
export * from './net-transport.ts';
export * from './types.ts';
