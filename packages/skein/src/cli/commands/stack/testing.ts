/** An engine that keeps what `stack deploy` sends: deployed by Docker's client or by Skein's, it can be compared. */
import { execFile } from 'node:child_process';
import { createServer, type IncomingMessage, type Server } from 'node:http';
import { join } from 'node:path';
import { PassThrough, Readable } from 'node:stream';
import { text as readText } from 'node:stream/consumers';
import { asText, at, type JsonObject, parseJson } from '../../client/json.ts';
import { run } from '../../index.ts';

/** How a command ended. */
export interface Ending {
  readonly exitCode: number;
  readonly stdout: string;
  readonly stderr: string;
}

interface Request {
  readonly line: string;
  readonly body: JsonObject;
}

const kinds = ['networks', 'secrets', 'configs', 'services'];

/** An engine that has what was made in it and nothing else. */
export class RecordingEngine implements AsyncDisposable {
  /** What was sent that makes or changes something, in order. */
  readonly requests: Request[] = [];
  readonly #objects = new Map<string, JsonObject[]>(kinds.map((kind) => [kind, []]));
  readonly #server: Server;
  readonly #socketPath: string;

  private constructor(socketPath: string) {
    this.#socketPath = socketPath;
    this.#server = createServer((request, response) => {
      void this.#answer(request).then(([status, value]) => {
        response.setHeader('Api-Version', '1.44').writeHead(status, { 'Content-Type': 'application/json' });
        response.end(JSON.stringify(value));
      });
    });
  }

  /** @param objects what is there from the start, by kind. */
  static async start(
    directory: string,
    objects: Readonly<Record<string, JsonObject[]>> = {},
  ): Promise<RecordingEngine> {
    const engine = new RecordingEngine(join(directory, 'engine.sock'));
    for (const [kind, items] of Object.entries(objects)) engine.#objects.get(kind)?.push(...items);
    await new Promise<void>((resolve) => engine.#server.listen(engine.#socketPath, resolve));
    return engine;
  }

  async #answer(request: IncomingMessage): Promise<[status: number, value: unknown]> {
    const path = new URL(request.url ?? '/', 'http://engine').pathname.replace(/^\/v[\d.]+/, '');
    const body = parseJson((await readText(request)) || '{}') as JsonObject;
    if (path === '/_ping') return [200, 'OK'];
    if (path === '/info') return [200, { Swarm: { ControlAvailable: true } }];
    const [, kind = '', name, verb] = path.split('/');
    const objects = this.#objects.get(kind);
    if (request.method !== 'GET') this.requests.push({ line: `${request.method} ${path}`, body });
    if (objects && name === undefined) return [200, objects];
    if (objects && name === 'create') return [201, this.#create(kind, objects, body)];
    const found = objects?.find((item) => [item.ID, item.Id, item.Name, at(item, 'Spec', 'Name')].includes(name ?? ''));
    if (found && request.method === 'GET') return [200, found];
    if (found && objects && request.method === 'DELETE') {
      objects.splice(objects.indexOf(found), 1);
      return [200, {}];
    }
    if (found && verb === 'update') {
      found.Spec = body;
      return [200, {}];
    }
    return [404, { message: `${kind.replace(/s$/, '')} ${name} not found` }];
  }

  #create(kind: string, objects: JsonObject[], body: JsonObject): JsonObject {
    const id = `${kind}-${asText(body.Name)}`;
    objects.push(
      kind === 'networks'
        ? { ...body, Id: id, Scope: 'swarm' }
        : {
            ID: id,
            Version: { Index: 7 },
            CreatedAt: '2026-11-28T00:00:00Z',
            UpdatedAt: '2026-11-28T00:00:00Z',
            Spec: body,
          },
    );
    return { ID: id, Id: id };
  }

  /** Runs `skein stack …` against it. */
  async skein(words: readonly string[], environment: Readonly<Record<string, string>>, input = ''): Promise<Ending> {
    const [out, err] = [new PassThrough(), new PassThrough()];
    const exitCode = await run(['stack', ...words], {
      stdin: Readable.from([Buffer.from(input)]),
      out,
      err,
      environment: { ...environment, DOCKER_HOST: `unix://${this.#socketPath}` },
      signal: new AbortController().signal,
    });
    out.end();
    err.end();
    return { exitCode, stdout: await readText(out), stderr: await readText(err) };
  }

  /** Runs `docker stack …` against it. */
  async docker(words: readonly string[], environment: Readonly<Record<string, string>>, input = ''): Promise<Ending> {
    return await new Promise((resolve) => {
      const env = { PATH: process.env.PATH ?? '', ...environment, DOCKER_HOST: `unix://${this.#socketPath}` };
      const child = execFile('docker', ['stack', ...words], { env, timeout: 20_000 }, (error, stdout, stderr) =>
        resolve({ exitCode: typeof error?.code === 'number' ? error.code : error ? 1 : 0, stdout, stderr }),
      );
      child.stdin?.end(input);
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }
}
