/** Logs of containers, services and tasks: frames, times, details. */
import type { LogEntry, LogOptions } from '../../container/types.ts';
import type { Service, Task } from '../../swarm/gen/objects_pb.js';
import { invalid } from '../errors.ts';
import { flagParameter, pathParameter, timeParameter } from '../parameters.ts';
import { get, stream } from '../reply.ts';
import { frame, outputType, write } from '../streams.ts';
import type { Call, Engine, Reply, Route } from '../types.ts';

interface LogQuery {
  readonly stdout: boolean;
  readonly stderr: boolean;
  readonly follow: boolean;
  readonly timestamps: boolean;
  readonly details: boolean;
  readonly since?: bigint;
  readonly until?: bigint;
  readonly tail?: number;
}

interface LogLine {
  readonly stream: 'stdout' | 'stderr';
  readonly timestamp: string;
  readonly data: Uint8Array;
  readonly attributes: Readonly<Record<string, string>>;
}

export function logRoutes(engine: Engine): Route[] {
  return [
    get('/containers/:id/logs', async (call) => {
      const query = logQuery(call);
      const id = engine.runtime.find(pathParameter(call, 'id'));
      const { Config } = await engine.runtime.inspect(id);
      // Opened before the answer begins: what has no log says so.
      const entries = engine.runtime.logs(id, readOptions(call, query));
      return lines(call, query, Config.Tty, containerLines(entries));
    }),
    get('/services/:id/logs', (call) => {
      const query = logQuery(call);
      const service = engine.swarm.control().findService(pathParameter(call, 'id'));
      return lines(
        call,
        query,
        hasTty(service.spec?.task),
        clusterLines(engine, { serviceIds: [service.id], taskIds: [] }, readOptions(call, query)),
      );
    }),
    get('/tasks/:id/logs', (call) => {
      const query = logQuery(call);
      const task = engine.swarm.control().findTask(pathParameter(call, 'id'));
      return lines(
        call,
        query,
        hasTty(task.spec),
        clusterLines(engine, { serviceIds: [], taskIds: [task.id] }, readOptions(call, query)),
      );
    }),
  ];
}

function logQuery(call: Call): LogQuery {
  const stdout = flagParameter(call, 'stdout');
  const stderr = flagParameter(call, 'stderr');
  if (!stdout && !stderr) throw invalid('Bad parameters: you must choose at least one stream');
  const since = timeParameter(call, 'since');
  const until = timeParameter(call, 'until');
  const tail = call.query.get('tail') ?? '';
  return {
    stdout,
    stderr,
    follow: flagParameter(call, 'follow'),
    timestamps: flagParameter(call, 'timestamps'),
    details: flagParameter(call, 'details'),
    ...(since === undefined ? {} : { since }),
    ...(until === undefined ? {} : { until }),
    // `all`, and whatever is no number, is all.
    ...(/^\d+$/.test(tail) ? { tail: Number(tail) } : {}),
  };
}

const hasTty = (spec: Task['spec'] | NonNullable<Service['spec']>['task']): boolean =>
  spec?.runtime.case === 'container' && spec.runtime.value.tty;

/** What there is to read, without how it is shown. */
function readOptions({ signal }: Call, query: LogQuery): LogOptions & { readonly signal: AbortSignal } {
  const { timestamps: _shown, details: _more, ...options } = query;
  return { ...options, signal };
}

async function* containerLines(entries: AsyncIterable<LogEntry>): AsyncIterable<LogLine> {
  for await (const { stream, timestamp, line } of entries) {
    yield { stream, timestamp, data: line, attributes: {} };
  }
}

async function* clusterLines(
  { swarm }: Engine,
  ids: { serviceIds: string[]; taskIds: string[] },
  { until: _never, ...options }: ReturnType<typeof readOptions>,
): AsyncIterable<LogLine> {
  for await (const message of swarm.logs().subscribe({ ...ids, ...options })) {
    // The CLI finds the task of a line by these three (moby daemon/cluster/services.go: ServiceLogs).
    const attributes = {
      ...message.attributes,
      'com.docker.swarm.node.id': message.nodeId,
      'com.docker.swarm.service.id': message.serviceId,
      'com.docker.swarm.task.id': message.taskId,
    };
    yield { stream: message.stream, timestamp: message.timestamp, data: message.data, attributes };
  }
}

function lines(call: Call, query: LogQuery, tty: boolean, shown: AsyncIterable<LogLine>): Reply {
  return stream(outputType(tty, call.apiVersion), async (response, signal) => {
    try {
      for await (const line of shown) {
        const text = Buffer.concat([Buffer.from(prefix(line, query)), line.data]);
        if (!(await write(response, tty ? text : frame(line.stream, text), signal))) return;
      }
    } catch (error) {
      if (!signal.aborted) throw error;
    }
  });
}

/** Time, then details, each with a space behind (moby httputils/logstream). */
function prefix({ timestamp, attributes }: LogLine, query: LogQuery): string {
  const time = query.timestamps ? `${fixedTime(timestamp)} ` : '';
  return query.details ? `${time}${detailsText(attributes)} ` : time;
}

/** RFC 3339 with nine decimals, so that lines stand in columns. */
function fixedTime(timestamp: string): string {
  const match = /^(.*:\d{2})(?:\.(\d{1,9}))?(Z|[-+].*)$/.exec(timestamp);
  return match === null ? timestamp : `${match[1]}.${(match[2] ?? '').padEnd(9, '0')}${match[3]}`;
}

function detailsText(attributes: Readonly<Record<string, string>>): string {
  return Object.keys(attributes)
    .sort()
    .map((key) => `${encodeURIComponent(key)}=${encodeURIComponent(attributes[key] ?? '')}`)
    .join(',');
}
