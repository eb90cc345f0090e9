/** From a request's path to its route: version prefix, versions served, unknown pages. */
import findMyWay from 'find-my-way';
import { SkeinError } from '../common/index.ts';
import { invalid } from './errors.ts';
import type { Route } from './types.ts';

/** The API versions that Skein speaks: 1.24 to 1.51. */
const lowestVersion = 24;
const highestVersion = 51;
export const apiVersion = `1.${highestVersion}`;
export const minApiVersion = `1.${lowestVersion}`;

/** What a path asks for. */
export interface Target {
  readonly path: string;
  readonly query: URLSearchParams;
  /** Minor number of API 1.x; the highest when the path has no prefix. */
  readonly apiVersion: number;
}

/** @throws SkeinError InvalidArgument with Docker's texts for versions that are not served. */
export function parseTarget(url: string): Target {
  const at = url.indexOf('?');
  const whole = at < 0 ? url : url.slice(0, at);
  const query = new URLSearchParams(at < 0 ? '' : url.slice(at + 1));
  const match = /^\/v(\d+)\.(\d+)(\/.*)$/.exec(whole);
  if (match === null) return { path: whole, query, apiVersion: highestVersion };
  const [, major, minor, path] = match;
  const version = `${major}.${minor}`;
  const order = compareVersion(Number(major), Number(minor));
  if (order < 0) {
    throw invalid(
      `client version ${version} is too old. Minimum supported API version is ${minApiVersion}, please upgrade your client to a newer version`,
    );
  }
  if (order > 0) {
    throw invalid(`client version ${version} is too new. Maximum supported API version is ${apiVersion}`);
  }
  return { path: path ?? '/', query, apiVersion: Number(minor) };
}

/** @returns -1 below, 0 within, 1 above the versions served. */
function compareVersion(major: number, minor: number): number {
  if (major < 1 || (major === 1 && minor < lowestVersion)) return -1;
  return major > 1 || minor > highestVersion ? 1 : 0;
}

export interface Router {
  /** @throws SkeinError NotFound `page not found`. */
  find(method: string, path: string): { route: Route; parameters: Record<string, string> };
}

/** Paths are long where image references stand in them. */
const maxParameterLength = 1024;

export function createRouter(routes: readonly Route[]): Router {
  const tree = findMyWay({ maxParamLength: maxParameterLength });
  for (const route of routes) tree.on(route.method, route.path, () => {}, route);
  return {
    find(method, path) {
      const found = isMethod(method) ? tree.find(method, path) : null;
      if (found === null) throw new SkeinError('NotFound', 'page not found');
      const route: Route = found.store;
      const parameters = Object.entries(found.params).flatMap(([name, value]) =>
        value === undefined ? [] : [[name, value] as const],
      );
      return { route, parameters: Object.fromEntries(parameters) };
    },
  };
}

function isMethod(method: string): method is Route['method'] {
  return ['GET', 'POST', 'PUT', 'DELETE', 'HEAD'].includes(method);
}
