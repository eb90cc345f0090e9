/**
 * What a compose file (version 3, or none) may say. Reading one through this schema checks it and brings every short
 * form into its long one, so that what follows knows one form only.
 */
import { z } from 'zod';
import { CommandError } from '../../../command/errors.ts';
import { ignoredOptions } from './options.ts';
import { type Port, parsePort, parseVolume, type Volume } from './short-syntax.ts';
import {
  bytes,
  duration,
  extensible,
  flag,
  formatted,
  hosts,
  isRequired,
  labels,
  list,
  mapping,
  mappingProblem,
  named,
  number,
  options,
  pairs,
  text,
  textOrTexts,
  texts,
  whole,
  words,
} from './values.ts';

const external = z
  .union([flag, mapping({ name: text.optional() })])
  .transform((value) => (typeof value === 'boolean' ? { external: value } : { external: true, name: value.name }));

const ports = list(
  z.union([
    formatted('ports', parsePort),
    number.transform(String).pipe(formatted('ports', parsePort)),
    mapping({
      mode: text.optional(),
      target: whole.optional(),
      published: whole.optional(),
      protocol: text.optional(),
    }).transform((port): Port[] => [port]),
  ]),
).transform((entries) => entries.flat());

const volume = z.union([
  text.transform(parseVolume),
  mapping({
    type: text,
    source: text.optional(),
    target: text.optional(),
    read_only: flag.optional(),
    consistency: text.optional(),
    bind: z.object({ propagation: text.optional() }, mappingProblem).optional(),
    volume: z.object({ nocopy: flag.optional(), subpath: text.optional() }, mappingProblem).optional(),
    image: z.object({ subpath: text.optional() }, mappingProblem).optional(),
    tmpfs: z.object({ size: whole.optional() }, mappingProblem).optional(),
    cluster: z.object({}, mappingProblem).optional(),
  }).transform((mount): Volume => mount),
]);

/** A secret or config that a service is given, and the file that it is in its containers. */
export interface FileReference {
  readonly source: string;
  readonly target?: string | undefined;
  readonly uid?: string | undefined;
  readonly gid?: string | undefined;
  readonly mode?: number | undefined;
}

const fileReference = z.union([
  text.transform((source): FileReference => ({ source })),
  z
    .object(
      {
        source: text.default(''),
        target: text.optional(),
        uid: text.optional(),
        gid: text.optional(),
        mode: number.optional(),
      },
      mappingProblem,
    )
    .transform((reference): FileReference => reference),
]);

const attachment = mapping({
  aliases: texts.optional(),
  driver_opts: options.optional(),
  ipv4_address: text.optional(),
  ipv6_address: text.optional(),
});

const attachments = z.union([
  texts.transform((names) =>
    Object.fromEntries(names.map((name): [string, z.output<typeof attachment>] => [name, {}])),
  ),
  named(attachment.nullable().transform((value) => value ?? {})),
]);

const healthcheck = mapping({
  disable: flag.optional(),
  interval: duration.optional(),
  retries: number.optional(),
  test: z.union([text.transform((line) => ['CMD-SHELL', line]), list(text)]).optional(),
  timeout: duration.optional(),
  start_period: duration.optional(),
  start_interval: duration.optional(),
});

const order = z.enum(['start-first', 'stop-first'], 'must be one of the following: "start-first", "stop-first"');
const rollout = mapping({
  parallelism: whole.optional(),
  delay: duration.optional(),
  failure_action: text.optional(),
  monitor: duration.optional(),
  max_failure_ratio: number.optional(),
  order: order.optional(),
});

const genericResource = mapping({
  discrete_resource_spec: mapping({ kind: text.default(''), value: number.default(0) }).optional(),
});

const deploy = mapping({
  mode: text.optional(),
  endpoint_mode: text.optional(),
  replicas: whole.optional(),
  labels: labels.optional(),
  rollback_config: rollout.optional(),
  update_config: rollout.optional(),
  resources: mapping({
    limits: mapping({ cpus: text.optional(), memory: bytes.optional(), pids: whole.optional() }).optional(),
    reservations: mapping({
      cpus: text.optional(),
      memory: bytes.optional(),
      generic_resources: list(genericResource).optional(),
    }).optional(),
  }).optional(),
  restart_policy: mapping({
    condition: text.optional(),
    delay: duration.optional(),
    max_attempts: whole.optional(),
    window: duration.optional(),
  }).optional(),
  placement: mapping({
    constraints: list(text).optional(),
    preferences: list(mapping({ spread: text.default('') })).optional(),
    max_replicas_per_node: whole.optional(),
  }).optional(),
});

const service = extensible(
  {
    cap_add: texts.optional(),
    cap_drop: texts.optional(),
    command: words.optional(),
    configs: list(fileReference).optional(),
    credential_spec: mapping({
      config: text.optional(),
      file: text.optional(),
      registry: text.optional(),
    }).optional(),
    deploy: deploy.nullable().optional(),
    dns: textOrTexts.optional(),
    dns_search: textOrTexts.optional(),
    entrypoint: words.optional(),
    env_file: textOrTexts.optional(),
    environment: pairs.optional(),
    extra_hosts: hosts.optional(),
    healthcheck: healthcheck.optional(),
    hostname: text.optional(),
    image: text.optional(),
    init: flag.optional(),
    isolation: text.optional(),
    labels: labels.optional(),
    logging: mapping({ driver: text.optional(), options: options.optional() }).optional(),
    networks: attachments.optional(),
    oom_score_adj: whole.optional(),
    ports: ports.optional(),
    read_only: flag.optional(),
    restart: text.optional(),
    secrets: list(fileReference).optional(),
    stdin_open: flag.optional(),
    stop_grace_period: duration.optional(),
    stop_signal: text.optional(),
    sysctls: labels.optional(),
    tty: flag.optional(),
    ulimits: z
      .record(
        z.string(),
        z.union([whole.transform((limit) => ({ soft: limit, hard: limit })), mapping({ soft: whole, hard: whole })]),
        'must be a mapping',
      )
      .optional(),
    user: text.optional(),
    volumes: list(volume).optional(),
    working_dir: text.optional(),
  },
  ignoredOptions,
);

const network = extensible({
  name: text.optional(),
  driver: text.optional(),
  driver_opts: options.optional(),
  ipam: mapping({
    driver: text.optional(),
    config: list(mapping({ subnet: text.optional() })).optional(),
  }).optional(),
  external: external.optional(),
  internal: flag.optional(),
  attachable: flag.optional(),
  labels: labels.optional(),
});

const namedVolume = extensible({
  name: text.optional(),
  driver: text.optional(),
  driver_opts: options.optional(),
  external: external.optional(),
  labels: labels.optional(),
});

const fileObject = extensible({
  name: text.optional(),
  file: text.optional(),
  external: external.optional(),
  labels: labels.optional(),
  driver: text.optional(),
  driver_opts: options.optional(),
  template_driver: text.optional(),
});

const file = extensible({
  version: text.optional(),
  services: named(service).default({}),
  networks: named(network.nullable().transform((value) => value ?? {})).default({}),
  volumes: named(namedVolume.nullable().transform((value) => value ?? {})).default({}),
  secrets: named(fileObject).default({}),
  configs: named(fileObject).default({}),
});

/** A stack as its files describe it, every form the long one. */
export type ComposeFile = z.output<typeof file>;
export type ComposeService = z.output<typeof service>;
export type ComposeNetwork = z.output<typeof network>;
export type ComposeVolume = z.output<typeof namedVolume>;
export type ComposeFileObject = z.output<typeof fileObject>;
export type Attachment = z.output<typeof attachment>;
export type Rollout = z.output<typeof rollout>;

/** Checks a file and brings it into the long form. @throws CommandError in docker's words for the deepest thing that is wrong. */
export function checkFile(value: unknown): ComposeFile {
  const { data, error } = file.safeParse(value);
  if (error) throw new CommandError(problemOf(error.issues));
  return data;
}

interface Problem {
  readonly path: readonly PropertyKey[];
  readonly message: string;
}

function problemOf(issues: readonly z.core.$ZodIssue[]): string {
  const [first, ...others] = issues.flatMap((issue) => problemsIn(issue, []));
  const { path, message } = others.reduce(
    (deepest, other) => (other.path.length > deepest.path.length ? other : deepest),
    first as Problem,
  );
  return `${path.length === 0 ? '(root)' : path.join('.')} ${message}`;
}

function problemsIn(issue: z.core.$ZodIssue, above: readonly PropertyKey[]): Problem[] {
  const path = [...above, ...issue.path];
  if (issue.code === 'invalid_union' && issue.errors.length > 0) {
    // Of several forms, the ones that were meant are of the value's type.
    const isMeant = (form: readonly z.core.$ZodIssue[]) =>
      !form.some((inner) => inner.code === 'invalid_type' && inner.path.length === 0);
    const meant = issue.errors.filter(isMeant);
    return (meant.length > 0 ? meant : issue.errors).flat().flatMap((inner) => problemsIn(inner, path));
  }
  if (issue.code === 'invalid_key') return [{ path: path.slice(0, -1), message: issue.message }];
  if (issue.message !== isRequired) return [{ path, message: issue.message }];
  return [{ path: path.slice(0, -1), message: `${String(path.at(-1))} ${isRequired}` }];
}
