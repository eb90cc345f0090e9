/** Short names for the answers that routes give. */
import type { Handler, Reply, Route, StreamWriter } from './types.ts';

export const json = (value: unknown, status = 200): Reply => ({ kind: 'json', status, value });
export const empty = (status = 204): Reply => ({ kind: 'empty', status });
export const text = (body: string, headers: Record<string, string> = {}): Reply => ({
  kind: 'text',
  status: 200,
  text: body,
  headers,
});
export const stream = (contentType: string, write: StreamWriter): Reply => ({ kind: 'stream', contentType, write });

export const get = (path: string, handler: Handler): Route => ({ method: 'GET', path, handler });
export const post = (path: string, handler: Handler): Route => ({ method: 'POST', path, handler });
export const remove = (path: string, handler: Handler): Route => ({ method: 'DELETE', path, handler });
export const put = (path: string, handler: Handler): Route => ({ method: 'PUT', path, handler });
export const head = (path: string, handler: Handler): Route => ({ method: 'HEAD', path, handler });
