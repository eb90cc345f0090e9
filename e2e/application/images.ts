/** The application's five images: nginx, redis and beanstalkd as Debian has them, and two programs of this folder on Node.js. */
import { basename, join } from 'node:path';
import { type Image, type Layer, layerOf, programFiles, writeImages, writeLayer } from '../support/images.ts';
import { writeUbuntuRootfs } from '../support/ubuntu.ts';

const environment = 'PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

/** Writes them as one archive for `docker load`. @param directory for its parts. @returns its path. */
export async function writeApplicationImages(directory: string): Promise<string> {
  const rootfs = join(directory, 'rootfs.tar');
  await writeUbuntuRootfs(rootfs);
  const base = await layerOf(rootfs);
  const program = (path: string, target?: string): Promise<Layer> =>
    writeLayer(join(directory, `${path.replaceAll('/', '-')}.tar`), programFiles(path, target));
  const node = await program(process.execPath, '/usr/bin/node');
  const sources = ['connection.ts', 'api.ts', 'worker.ts'].map((name) => join(import.meta.dirname, name));
  // package.json says that they are modules.
  const files = [...sources, join(import.meta.dirname, '../../package.json')];
  const programs = await writeLayer(
    join(directory, 'programs.tar'),
    Object.fromEntries(files.map((file) => [`/application/${basename(file)}`, file])),
  );
  const nginx = await program('/usr/sbin/nginx');
  const image = (name: string, layers: readonly Layer[], command: string, more: object = {}): Image => ({
    name,
    layers: [base, ...layers],
    config: { Cmd: command.split(' '), Env: [environment], ...more },
  });
  const api = (edition: number): Image =>
    image(`api:${edition}`, [node, programs], 'node /application/api.ts', {
      Env: [environment, `VERSION=${edition}`],
    });
  const redis = 'redis-server --dir /data --appendonly no --protected-mode no';
  const path = join(directory, 'images.tar');
  await writeImages(path, [
    // nginx ends gracefully on SIGQUIT (nginx(8)).
    image('web:1', [nginx], 'nginx -c /etc/nginx/nginx.conf', { StopSignal: 'SIGQUIT' }),
    api(1),
    api(2),
    image('database:1', [await program('/usr/bin/redis-server')], redis, { Volumes: { '/data': {} } }),
    image('queue:1', [await program('/usr/bin/beanstalkd')], 'beanstalkd -l 0.0.0.0 -p 11300'),
    image('worker:1', [node, programs], 'node /application/worker.ts'),
  ]);
  return path;
}
