/** Exec: create, start (attached or not), resize, inspect. */
import * as z from 'zod';
import { errorText, SkeinError } from '../../common/index.ts';
import type { TerminalSize } from '../../container/types.ts';
import { parseDetachKeys } from '../detach-keys.ts';
import { invalid } from '../errors.ts';
import { pathParameter } from '../parameters.ts';
import { empty, get, json, post } from '../reply.ts';
import { decodeBody, goBool, goInt, goString, goStrings, goStruct } from '../schema.ts';
import { frame, outputType } from '../streams.ts';
import type { Call, Engine, Reply, Route } from '../types.ts';
import { terminalSize } from './containers.ts';
import { joinOutput, joinSession } from './session.ts';

/** Rows and columns. */
const consoleSize = z.array(goInt).length(2).optional();

const createBody = goStruct({
  User: goString,
  Privileged: goBool,
  Tty: goBool,
  ConsoleSize: consoleSize,
  AttachStdin: goBool,
  AttachStdout: goBool,
  AttachStderr: goBool,
  DetachKeys: goString,
  Env: goStrings,
  WorkingDir: goString,
  Cmd: goStrings,
});

const startBody = goStruct({ Detach: goBool, Tty: goBool, ConsoleSize: consoleSize });

export function execRoutes({ runtime }: Engine): Route[] {
  const { execs } = runtime;
  return [
    post('/containers/:id/exec', async (call) => {
      const { ConsoleSize: _size, ...spec } = decodeBody(createBody, await call.json(), 'ExecCreateRequest');
      if (spec.Cmd.length === 0) throw invalid('No exec command specified');
      parseDetachKeys(spec.DetachKeys);
      const id = await execs.create(runtime.find(pathParameter(call, 'id')), spec);
      return json({ Id: id }, 201);
    }),
    post('/exec/:id/start', (call) => startExec(runtime, call)),
    post('/exec/:id/resize', async (call) => {
      await execs.resize(pathParameter(call, 'id'), terminalSize(call));
      return empty(200);
    }),
    get('/exec/:id/json', (call) => json(execs.inspect(pathParameter(call, 'id')))),
  ];
}

async function startExec({ execs }: Engine['runtime'], call: Call): Promise<Reply> {
  const id = pathParameter(call, 'id');
  const body = decodeBody(startBody, await call.json(), 'ExecStartRequest');
  const exec = execs.inspect(id);
  if (exec.Running) throw new SkeinError('Conflict', `Error: Exec command ${id} is already running`);
  if (exec.ExitCode !== null) throw new SkeinError('Conflict', `exec command ${id} has already run`);
  if (body.Detach) {
    await execs.startDetached(id);
    return empty(200);
  }
  const tty = exec.ProcessConfig.tty;
  const size = tty ? sizeOf(body.ConsoleSize) : undefined;
  const detachKeys = parseDetachKeys(exec.DetachKeys);
  const wanted = { stdout: exec.OpenStdout, stderr: exec.OpenStderr, tty };
  /** As the connection is no longer HTTP, a failed start is told on it, as dockerd does. */
  const failure = (error: unknown): Buffer => {
    const text = Buffer.from(`${errorText(error)}\r\n`);
    return tty ? text : frame('stderr', text);
  };
  return {
    kind: 'hijack',
    contentType: outputType(tty, call.apiVersion),
    session: async (connection, signal) => {
      const streams = await execs.start(id, size).catch((error: unknown) => void connection.write(failure(error)));
      if (streams === undefined) return;
      const options = { ...wanted, stdin: exec.OpenStdin, detachKeys };
      if (await joinSession(streams, connection, options, signal)) await execs.waitForExit(exec.ID, signal);
    },
    write: async (response, signal) => {
      const streams = await execs.start(id, size).catch((error: unknown) => void response.write(failure(error)));
      if (streams === undefined) return;
      // Without an upgrade there is no way for input.
      streams.stdin?.end();
      await joinOutput(streams, response, wanted, signal);
      await execs.waitForExit(exec.ID, signal);
    },
  };
}

function sizeOf(size: readonly number[] | undefined): TerminalSize | undefined {
  const [rows = 0, columns = 0] = size ?? [];
  return rows > 0 && columns > 0 ? { rows, columns } : undefined;
}
