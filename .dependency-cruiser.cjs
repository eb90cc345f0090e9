/**
 * The house's direction: lower floors know nothing of the upper ones (docs/architecture.md).
 * Each room lists what it may import; everything else between rooms is refused.
 */
const skein = 'packages/skein/src';
/** room → rooms it may import (besides itself, node_modules and the errors and protocol shared at the bottom). */
const rooms = {
  common: [],
  nftables: ['common'],
  overlay: ['common', 'nftables'],
  discovery: ['common', 'nftables'],
  container: ['common'],
  balancer: ['common', 'nftables', 'overlay', 'discovery'],
  local: ['common', 'nftables', 'container', 'overlay', 'discovery', 'balancer'],
  'swarm/gen': [],
  'swarm/identity': ['common', 'swarm/gen'],
  'swarm/store': ['common', 'swarm/gen'],
  'swarm/manager': ['common', 'swarm/gen', 'swarm/identity', 'swarm/store'],
  'swarm/agent': ['common', 'swarm/gen', 'swarm/identity'],
  'swarm/node': ['common', 'swarm/gen', 'swarm/identity', 'swarm/store', 'swarm/manager', 'swarm/agent'],
  executor: ['common', 'swarm/gen', 'swarm/agent', 'container', 'overlay', 'discovery', 'balancer'],
  engine: ['common', 'swarm/gen', 'swarm/node', 'swarm/manager', 'container', 'overlay', 'executor', 'local'],
  lab: ['common'],
  cli: ['common', 'lab'],
  daemon: [
    'common',
    'swarm/gen',
    'swarm/identity',
    'swarm/store',
    'swarm/manager',
    'swarm/agent',
    'swarm/node',
    'executor',
    'container',
    'overlay',
    'discovery',
    'balancer',
    'local',
    'engine',
  ],
};
const roomRules = Object.entries(rooms).map(([room, allowed]) => ({
  name: `direction-${room.replace('/', '-')}`,
  severity: 'error',
  comment: `${room} may import only: ${allowed.join(', ') || 'nothing'}`,
  from: { path: `^${skein}/${room}/` },
  to: { path: `^${skein}/`, pathNot: `^${skein}/(${[room, ...allowed].join('|')})/` },
}));
module.exports = {
  forbidden: [
    { name: 'no-circular', severity: 'error', from: {}, to: { circular: true } },
    {
      name: 'netlink-stands-alone',
      severity: 'error',
      from: { path: '^packages/netlink/' },
      to: { path: '^packages/(gossip|skein)/' },
    },
    {
      name: 'gossip-stands-alone',
      severity: 'error',
      from: { path: '^packages/gossip/' },
      to: { path: '^packages/(netlink|skein)/' },
    },
    {
      name: 'only-the-kernel-rooms-use-netlink',
      severity: 'error',
      from: { path: `^${skein}/(cli|engine|swarm|container)/` },
      to: { path: '^packages/netlink/' },
    },
    {
      name: 'product-never-imports-tests',
      severity: 'error',
      from: { path: '^packages/', pathNot: '\\.test\\.ts$' },
      to: { path: '^(e2e|bench|scripts)/|\\.test\\.ts$' },
    },
    { name: 'not-to-unresolvable', severity: 'error', from: {}, to: { couldNotResolve: true } },
    ...roomRules,
  ],
  options: {
    doNotFollow: { path: 'node_modules' },
    exclude: { path: '(^|/)dist/' },
    tsPreCompilationDeps: true,
    tsConfig: { fileName: 'tsconfig.json' },
    enhancedResolveOptions: { exportsFields: ['exports'], conditionNames: ['source', 'import', 'node', 'default'] },
  },
};
