/** What a container runs: the image's defaults and the container's own wishes merged by Docker's rules. */
import { SkeinError } from '../../common/index.ts';
import type { ImageProcessConfig } from '../images/manifest.ts';
import type { ContainerConfig, Healthcheck, HostConfig } from '../types.ts';

/** moby daemon/pkg/oci: defaultUnixPathEnv. */
export const defaultPath = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

/** A container's config after the merge: what inspect shows and what start runs. */
export interface ResolvedConfig extends ContainerConfig {
  Volumes: Record<string, object> | null;
}

const nameOf = (variable: string): string => variable.split('=', 1)[0] ?? '';
const filled = (list: readonly string[] | null | undefined): string[] | null =>
  list && list.length > 0 ? [...list] : null;

function mergeHealthcheck(
  own: Healthcheck | undefined,
  image: ImageProcessConfig['Healthcheck'],
): Healthcheck | undefined {
  if (!image?.Test || image.Test.length === 0) return own;
  const inherited: Healthcheck = { ...image, Test: image.Test };
  if (!own) return inherited;
  return {
    Test: own.Test.length > 0 ? own.Test : inherited.Test,
    Interval: own.Interval || inherited.Interval,
    Timeout: own.Timeout || inherited.Timeout,
    StartPeriod: own.StartPeriod || inherited.StartPeriod,
    StartInterval: own.StartInterval || inherited.StartInterval,
    Retries: own.Retries || inherited.Retries,
  };
}

/** @returns a set of the keys of both, as Docker writes sets; undefined when neither has any. */
function allKeys(...sets: readonly (object | null | undefined)[]): Record<string, object> | undefined {
  const keys = sets.flatMap((set) => Object.keys(set ?? {}));
  return keys.length > 0 ? Object.fromEntries(keys.map((key) => [key, {}])) : undefined;
}

function withExposedPorts(ports: Record<string, object> | undefined): Pick<ContainerConfig, 'ExposedPorts'> {
  return ports ? { ExposedPorts: ports } : {};
}

/** Merges an image's config into a container's (moby daemon/commit.go: merge). An entrypoint `[""]` clears the image's. */
export function mergeConfig(own: ContainerConfig, image: ImageProcessConfig): ResolvedConfig {
  const cleared = own.Entrypoint?.length === 1 && own.Entrypoint[0] === '';
  const hasEntrypoint = filled(own.Entrypoint) !== null && !cleared;
  const names = new Set(own.Env.map(nameOf));
  const stopSignal = own.StopSignal || image.StopSignal;
  const healthcheck = mergeHealthcheck(own.Healthcheck, image.Healthcheck);
  return {
    ...own,
    User: own.User || image.User || '',
    Env: [...own.Env, ...(image.Env ?? []).filter((variable) => !names.has(nameOf(variable)))],
    Entrypoint: hasEntrypoint ? own.Entrypoint : cleared ? null : filled(image.Entrypoint),
    Cmd: filled(own.Cmd) ?? (hasEntrypoint || cleared ? null : filled(image.Cmd)),
    WorkingDir: own.WorkingDir || image.WorkingDir || '',
    Labels: { ...image.Labels, ...own.Labels },
    Volumes: allKeys(image.Volumes, own.Volumes) ?? null,
    ...withExposedPorts(allKeys(image.ExposedPorts, own.ExposedPorts)),
    ...(stopSignal && { StopSignal: stopSignal }),
    ...(healthcheck && { Healthcheck: healthcheck }),
  };
}

/** @returns the whole command. @throws SkeinError InvalidArgument `No command specified`. */
export function commandOf(config: Pick<ContainerConfig, 'Entrypoint' | 'Cmd'>): [string, ...string[]] {
  const [path, ...rest] = [...(config.Entrypoint ?? []), ...(config.Cmd ?? [])];
  if (path === undefined || path === '') throw new SkeinError('InvalidArgument', 'No command specified');
  return [path, ...rest];
}

/** @returns the OCI names and values of `--ulimit`, for a container's processes and those that are executed in it. */
export function resourceLimits(ulimits: HostConfig['Ulimits']): { type: string; soft: number; hard: number }[] {
  return ulimits.map(({ Name, Soft, Hard }) => ({ type: `RLIMIT_${Name.toUpperCase()}`, soft: Soft, hard: Hard }));
}

/** @returns the environment: Docker's own variables, replaced or extended by the container's; `NAME` alone unsets. */
export function environmentOf(options: { hostname: string; tty: boolean; env: readonly string[] }): string[] {
  const variables = new Map<string, string>([
    ['PATH', `PATH=${defaultPath}`],
    ['HOSTNAME', `HOSTNAME=${options.hostname}`],
  ]);
  if (options.tty) variables.set('TERM', 'TERM=xterm');
  for (const variable of options.env) {
    if (variable.includes('=')) variables.set(nameOf(variable), variable);
    else variables.delete(variable);
  }
  return [...variables.values()];
}
