import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { create } from '@bufbuild/protobuf';
import fc from 'fast-check';
import { SkeinError } from '../../common/index.ts';
import { ClusterSpecSchema } from '../../swarm/gen/specs_pb.js';
import { parse, stringify } from '../json.ts';
import { readReference } from '../testing/reference.ts';
import { mergeClusterSpec } from './cluster.ts';
import { networkCreateToSpec } from './network.ts';
import { node, nodeSpec } from './node.ts';
import { configSpec, secretSpec } from './secret.ts';
import { service, serviceSpec } from './service.ts';
import { formatTime, time } from './values.ts';

const word = fc.stringMatching(/^[a-z][a-z0-9-]{0,12}$/);
const words = fc.array(word, { minLength: 1, maxLength: 3 });
const labels = fc.dictionary(word, fc.string({ maxLength: 8 }), { minKeys: 1, maxKeys: 3 });
const count = fc.integer({ min: 1, max: 2 ** 31 - 1 });
const nanoseconds = fc.integer({ min: 1, max: Number.MAX_SAFE_INTEGER });
const yes = fc.constant(true);
/** An object of which any member may be missing. */
const some = <T>(members: { [K in keyof T]: fc.Arbitrary<T[K]> }) => fc.record(members, { requiredKeys: [] });

const driver = some({ Name: word, Options: labels });
const generic = fc.oneof(
  fc.record({ NamedResourceSpec: fc.record({ Kind: word, Value: word }) }),
  fc.record({ DiscreteResourceSpec: fc.record({ Kind: word, Value: count }) }),
);
const file = fc.record({ Name: word, UID: word, GID: word, Mode: count });
const mount = some({
  Type: fc.constantFrom('bind', 'volume', 'tmpfs', 'npipe', 'cluster'),
  Source: word,
  Target: word,
  ReadOnly: yes,
  Consistency: fc.constantFrom('consistent', 'cached', 'delegated'),
  BindOptions: some({
    NonRecursive: yes,
    CreateMountpoint: yes,
    ReadOnlyNonRecursive: yes,
    ReadOnlyForceRecursive: yes,
  }).map((options) => ({ Propagation: 'rslave', ...options })),
  VolumeOptions: some({ NoCopy: yes, Labels: labels, Subpath: word, DriverConfig: driver }),
  TmpfsOptions: some({ SizeBytes: count, Mode: count, Options: fc.array(words, { minLength: 1, maxLength: 2 }) }),
}).map((given) => ({ Type: 'bind', ...given }));

const containerSpec = some({
  Image: word,
  Labels: labels,
  Command: words,
  Args: words,
  Hostname: word,
  Env: words,
  Dir: word,
  User: word,
  Groups: words,
  Privileges: fc.record({
    CredentialSpec: fc.oneof(
      fc.constant(null),
      word.map((name) => ({ Config: '', File: name, Registry: '' })),
    ),
    SELinuxContext: fc.oneof(
      fc.constant(null),
      fc.record({ Disable: fc.boolean(), User: word, Role: word, Type: word, Level: word }),
    ),
    Seccomp: fc.constant({ Mode: 'custom', Profile: 'e30=' }),
    AppArmor: fc.constant({ Mode: 'disabled' }),
    NoNewPrivileges: fc.boolean(),
  }),
  Init: fc.boolean(),
  StopSignal: word,
  TTY: yes,
  OpenStdin: yes,
  ReadOnly: yes,
  Mounts: fc.array(mount, { minLength: 1, maxLength: 2 }),
  StopGracePeriod: nanoseconds,
  Healthcheck: some({
    Test: words,
    Interval: nanoseconds,
    Timeout: nanoseconds,
    StartPeriod: nanoseconds,
    StartInterval: nanoseconds,
    Retries: count,
  }),
  Hosts: words,
  DNSConfig: some({ Nameservers: words, Search: words, Options: words }),
  Secrets: fc.array(fc.record({ File: file, SecretID: word, SecretName: word }), { minLength: 1, maxLength: 2 }),
  Configs: fc.array(
    fc.oneof(
      fc.record({ File: file, ConfigID: word, ConfigName: word }),
      fc.record({ Runtime: fc.constant({}), ConfigID: word, ConfigName: word }),
    ),
    { minLength: 1, maxLength: 2 },
  ),
  Sysctls: labels,
  CapabilityAdd: words,
  CapabilityDrop: words,
  Ulimits: fc.array(fc.record({ Name: word, Hard: count, Soft: count }), { minLength: 1, maxLength: 2 }),
  OomScoreAdj: fc.integer({ min: -1000, max: -1 }),
}).map((given) => ({ Isolation: 'default', ...given }));

const updateConfig = some({ Delay: nanoseconds, Monitor: nanoseconds }).chain((optional) =>
  fc
    .record({
      Parallelism: count,
      FailureAction: fc.constantFrom('pause', 'continue', 'rollback'),
      MaxFailureRatio: fc.constantFrom(0, 0.25, 0.5),
      Order: fc.constantFrom('stop-first', 'start-first'),
    })
    .map((rest) => ({ ...rest, ...optional })),
);

const endpointSpec = fc.record({
  Mode: fc.constantFrom('vip', 'dnsrr'),
  Ports: fc.array(
    fc.record({
      Name: word,
      Protocol: fc.constantFrom('tcp', 'udp', 'sctp'),
      TargetPort: fc.integer({ min: 1, max: 65_535 }),
      PublishedPort: fc.integer({ min: 1, max: 65_535 }),
      PublishMode: fc.constantFrom('ingress', 'host'),
    }),
    { minLength: 1, maxLength: 2 },
  ),
});

const taskTemplate = some({
  Resources: some({
    Limits: some({ NanoCPUs: count, MemoryBytes: count, Pids: count }),
    Reservations: some({
      NanoCPUs: count,
      MemoryBytes: count,
      GenericResources: fc.array(generic, { minLength: 1, maxLength: 2 }),
    }),
    MemorySwappiness: fc.integer({ min: 0, max: 100 }),
  }),
  RestartPolicy: fc.record({
    Condition: fc.constantFrom('none', 'on-failure', 'any'),
    Delay: nanoseconds,
    MaxAttempts: count,
    Window: nanoseconds,
  }),
  Placement: some({
    Constraints: words,
    Preferences: fc.array(fc.record({ Spread: fc.record({ SpreadDescriptor: word }) }), { minLength: 1, maxLength: 2 }),
    MaxReplicas: count,
    Platforms: fc.array(fc.record({ Architecture: word, OS: word }), { minLength: 1, maxLength: 2 }),
  }),
  Networks: fc.array(
    some({ Aliases: words, DriverOpts: labels }).map((given) => ({ Target: 'net', ...given })),
    { minLength: 1, maxLength: 2 },
  ),
  LogDriver: driver,
});

const mode = fc.oneof(
  fc.record({ Replicated: fc.record({ Replicas: fc.nat() }) }),
  fc.constant({ Global: {} }),
  fc.record({ ReplicatedJob: fc.record({ MaxConcurrent: count, TotalCompletions: count }) }),
  fc.constant({ GlobalJob: {} }),
);

const spec = fc
  .record({ Name: word, Labels: labels, container: containerSpec, template: taskTemplate, force: count, Mode: mode })
  .chain(({ Name, Labels, container, template, force, Mode }) =>
    some({ UpdateConfig: updateConfig, RollbackConfig: updateConfig, EndpointSpec: endpointSpec }).map((rest) => ({
      Name,
      Labels,
      TaskTemplate: { ContainerSpec: container, ...template, ForceUpdate: force, Runtime: 'container' },
      Mode,
      ...rest,
    })),
  );

/** Through the wire's text and back, as a client would send it. */
const asSent = (value: unknown): unknown => parse(stringify(value));

describe("Docker's JSON and swarmkit's messages", () => {
  it('keep every member of a service spec through both', () => {
    fc.assert(
      fc.property(spec, (json) => {
        assert.deepEqual(asSent(serviceSpec.encode(serviceSpec.decode(asSent(json), 'ServiceSpec'))), asSent(json));
      }),
      { numRuns: 200 },
    );
  });

  it('keep every member of secret, config and node specs', () => {
    const common = { Name: word, Labels: labels };
    const same = (shown: unknown, json: unknown): void => assert.deepEqual(asSent(shown), asSent(json));
    fc.assert(
      fc.property(fc.record({ ...common, Data: fc.constant('aGVsbG8='), Templating: driver }), (json) => {
        same(configSpec.encode(configSpec.decode(json, 'ConfigSpec')), json);
        const { Data: _secret, ...shown } = json;
        same(secretSpec.encode(secretSpec.decode(json, 'SecretSpec')), shown);
      }),
    );
    const role = fc.constantFrom('worker', 'manager');
    const availability = fc.constantFrom('active', 'pause', 'drain');
    fc.assert(
      fc.property(fc.record({ ...common, Role: role, Availability: availability }), (json) =>
        same(nodeSpec.encode(nodeSpec.decode(json, 'NodeSpec')), json),
      ),
    );
  });

  it("keep what dockerd printed: services and nodes decode and encode to the reference's text", () => {
    for (const json of readReference('services-status') as Record<string, unknown>[]) {
      const { ServiceStatus: _status, CreatedAt: _created, UpdatedAt: _updated, ...rest } = json;
      const { CreatedAt, UpdatedAt, ...again } = asSent(service.encode(service.decode(json, 'Service'))) as typeof json;
      assert.ok(CreatedAt !== undefined && UpdatedAt !== undefined);
      assert.deepEqual(again, rest);
    }
    for (const json of readReference('nodes') as Record<string, unknown>[]) {
      const { CreatedAt: _created, UpdatedAt: _updated, ...rest } = json;
      const { CreatedAt, UpdatedAt, ...again } = asSent(node.encode(node.decode(json, 'Node'))) as typeof json;
      assert.ok(CreatedAt !== undefined && UpdatedAt !== undefined);
      assert.deepEqual(again, rest);
    }
  });

  it('read times to the nanosecond and print them as Go does', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 4_000_000_000 }), fc.nat(999_999_999), (seconds, nanos) => {
        const printed = formatTime({ $typeName: 'google.protobuf.Timestamp', seconds: BigInt(seconds), nanos });
        const read = time.decode(printed, 'T');
        assert.deepEqual([read.seconds, read.nanos], [BigInt(seconds), nanos], printed);
      }),
    );
    assert.equal(formatTime(undefined), '0001-01-01T00:00:00Z');
  });

  it('read member names without regard to case, null as missing, and ignore unknown ones', () => {
    const decoded = serviceSpec.decode(
      { name: 'web', unknown: 1, taskTemplate: { containerSpec: { IMAGE: 'x', Env: null } } },
      'ServiceSpec',
    );
    assert.equal(decoded.annotations?.name, 'web');
    assert.equal(decoded.task?.runtime.case === 'container' && decoded.task.runtime.value.image, 'x');
  });
});

describe('defaults and refusals of the conversion', () => {
  const container = { ContainerSpec: { Image: 'x' } };
  const decode = (json: unknown) => serviceSpec.decode(json, 'ServiceSpec');
  const refused = (json: unknown, message: string): void => {
    assert.throws(
      () => decode(json),
      (error) => error instanceof SkeinError && error.message === message && error.code === 'InvalidArgument',
    );
  };

  it('make one replica of a missing mode and restart always without a condition', () => {
    const decoded = decode({ TaskTemplate: { ...container, RestartPolicy: {} } });
    assert.equal(decoded.mode.case === 'replicated' && decoded.mode.value.replicas, 1n);
    assert.equal(decoded.task?.restart?.condition, 2);
  });

  it("use Docker's words", () => {
    refused({}, 'mismatched Runtime and *Spec fields');
    refused({ TaskTemplate: container, Mode: { Global: {}, Replicated: {} } }, 'must specify only one service mode');
    refused({ TaskTemplate: { ...container, RestartPolicy: { Condition: 'x' } } }, 'invalid RestartCondition: "x"');
    refused({ TaskTemplate: container, UpdateConfig: { Order: 'x' } }, 'unrecognized update order x');
    refused({ TaskTemplate: { ContainerSpec: { Mounts: [{ Type: 'x' }] } } }, 'invalid MountType: "x"');
    refused(
      { TaskTemplate: { ...container, ForceUpdate: 'x' } },
      'json: cannot unmarshal string into Go struct field ServiceSpec.TaskTemplate.ForceUpdate of type uint64',
    );
    refused(
      { TaskTemplate: container, EndpointSpec: { Ports: [{ TargetPort: 80, PublishedPort: 99_999 }] } },
      'invalid published port 99999: ports go from 0 to 65535',
    );
  });

  it('keep what an update of the swarm does not mention', () => {
    const current = create(ClusterSpecSchema, {
      annotations: { name: 'default', labels: { a: '1' } },
      orchestration: { taskHistoryRetentionLimit: 5n },
      raft: { snapshotInterval: 10_000n, heartbeatTick: 1, electionTick: 10 },
      dispatcher: { heartbeatPeriod: { seconds: 5n } },
      caConfig: { nodeCertExpiry: { seconds: 7_776_000n } },
    });
    const merged = mergeClusterSpec(
      { Orchestration: { TaskHistoryRetentionLimit: 0 }, Dispatcher: { HeartbeatPeriod: 9_000_000_000 } },
      'Spec',
      current,
    );
    assert.equal(merged.orchestration?.taskHistoryRetentionLimit, 0n);
    assert.equal(merged.dispatcher?.heartbeatPeriod?.seconds, 9n);
    assert.equal(merged.raft?.snapshotInterval, 10_000n);
    assert.equal(merged.caConfig?.nodeCertExpiry?.seconds, 7_776_000n);
    assert.deepEqual(merged.annotations?.labels, { a: '1' });
    assert.equal(current.dispatcher?.heartbeatPeriod?.seconds, 5n, 'the current spec is not changed');
  });

  it('turn a network create into a spec with every member', () => {
    const made = networkCreateToSpec({
      Name: 'n',
      Driver: 'overlay',
      EnableIPv6: true,
      Internal: true,
      Attachable: true,
      Ingress: true,
      IPAM: {
        Driver: '',
        Options: { o: '1' },
        Config: [
          { Subnet: '10.1.0.0/24', IPRange: '10.1.0.0/25', Gateway: '10.1.0.1', AuxiliaryAddresses: { a: '10.1.0.9' } },
        ],
      },
      Options: { encrypted: '' },
      Labels: { l: '1' },
    });
    assert.deepEqual(
      [
        made.ipv6Enabled,
        made.internal,
        made.attachable,
        made.ingress,
        made.driverConfig?.options,
        made.annotations?.labels,
      ],
      [true, true, true, true, { encrypted: '' }, { l: '1' }],
    );
    assert.equal(made.ipam?.driver?.name, 'default');
    assert.deepEqual(made.ipam?.configs[0]?.reserved, { a: '10.1.0.9' });
    assert.equal(made.ipam?.configs[0]?.range, '10.1.0.0/25');
  });
});
