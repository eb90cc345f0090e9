/** What Docker has and Skein does not: each endpoint says so, and what to do instead. And the lists that are empty. */
import { SkeinError } from '../../common/index.ts';
import { notBuilt } from '../errors.ts';
import { pathParameter } from '../parameters.ts';
import { get, json, post } from '../reply.ts';
import type { Route } from '../types.ts';

const noBuild = 'Skein does not build images: build them elsewhere and use docker pull or docker image load.';
const noPlugins = 'Skein has no plugins.';

/** Method, path, sentence. */
const absent: readonly (readonly [Route['method'], string, string])[] = [
  ['GET', '/containers/:id/export', 'Skein does not export containers.'],
  ['GET', '/containers/:id/attach/ws', 'Skein does not attach over WebSocket: use docker attach.'],
  ['GET', '/containers/:id/checkpoints', 'Skein has no checkpoints.'],
  ['POST', '/containers/:id/checkpoints', 'Skein has no checkpoints.'],
  ['POST', '/commit', noBuild],
  ['POST', '/build', noBuild],
  ['POST', '/session', noBuild],
  ['POST', '/grpc', noBuild],
  [
    'GET',
    '/images/get',
    'Skein does not save images: use docker image load on each node with the archive that you have.',
  ],
  ['GET', '/images/search', 'Skein does not search registries.'],
  ['GET', '/plugins/privileges', noPlugins],
  ['POST', '/plugins/pull', noPlugins],
  ['POST', '/plugins/create', noPlugins],
];

export function absentRoutes(): Route[] {
  return [
    ...absent.map(([method, path, sentence]) => ({
      method,
      path,
      handler: () => {
        throw notBuilt(sentence);
      },
    })),
    // There is no build cache, so that nothing of it is left to prune: `docker system prune` asks for this too.
    post('/build/prune', () => json({ CachesDeleted: null, SpaceReclaimed: 0 })),
    get('/plugins', () => json([])),
    get('/plugins/:name/json', (call) => {
      throw new SkeinError('NotFound', `plugin "${pathParameter(call, 'name')}" not found`);
    }),
  ];
}
