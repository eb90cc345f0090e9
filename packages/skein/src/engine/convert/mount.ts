/** Docker's Mount ↔ swarmkit's. */
import {
  Mount_Consistency as Consistency,
  Mount_BindOptionsSchema,
  Mount_TmpfsOptionsSchema,
  Mount_VolumeOptionsSchema,
  MountSchema,
  Mount_Type as MountType,
  Mount_BindOptions_Propagation as Propagation,
} from '../../swarm/gen/types_pb.js';
import { field, optional, table } from './codec.ts';
import { driver } from './common.ts';
import { flag, int64, list, map, strings, text, uint32, type Value, words } from './values.ts';

const propagation = words(
  {
    rprivate: Propagation.RPRIVATE,
    private: Propagation.PRIVATE,
    rshared: Propagation.RSHARED,
    shared: Propagation.SHARED,
    rslave: Propagation.RSLAVE,
    slave: Propagation.SLAVE,
  },
  (word) => `invalid MountPropagation: "${word}"`,
);

const mountType = words(
  {
    bind: MountType.BIND,
    volume: MountType.VOLUME,
    tmpfs: MountType.TMPFS,
    npipe: MountType.NPIPE,
    cluster: MountType.CLUSTER,
  },
  (word) => `invalid MountType: "${word}"`,
);

/** Left out when it is the default, as swarm's conversion does. */
const consistency: Value<Consistency> = {
  ...words(
    {
      default: Consistency.DEFAULT,
      consistent: Consistency.CONSISTENT,
      cached: Consistency.CACHED,
      delegated: Consistency.DELEGATED,
    },
    (word) => `invalid Consistency: "${word}"`,
  ),
  isZero: (value) => value === Consistency.DEFAULT,
};

/** swarmkit keeps the list of lists as one JSON text (convert/container.go tmpfsOptionsToGRPC). */
const tmpfsOptions: Value<string> = {
  encode: (value) => JSON.parse(value) as unknown,
  decode: (json, path) => JSON.stringify(list(strings).decode(json, path)),
  isZero: (value) => value === '' || value === 'null' || value === '[]',
};

const tmpfs = table(Mount_TmpfsOptionsSchema, [
  field('SizeBytes', 'sizeBytes', int64),
  field('Mode', 'mode', uint32),
  field('Options', 'options', tmpfsOptions),
]);

export const mount = table(MountSchema, [
  field('Type', 'type', mountType),
  field('Source', 'source', text),
  field('Target', 'target', text),
  field('ReadOnly', 'readOnly', flag),
  field('Consistency', 'consistency', consistency),
  optional(
    'BindOptions',
    'bindOptions',
    table(Mount_BindOptionsSchema, [
      field('Propagation', 'propagation', propagation),
      field('NonRecursive', 'nonRecursive', flag),
      field('CreateMountpoint', 'createMountpoint', flag),
      field('ReadOnlyNonRecursive', 'readOnlyNonRecursive', flag),
      field('ReadOnlyForceRecursive', 'readOnlyForceRecursive', flag),
    ]),
  ),
  optional(
    'VolumeOptions',
    'volumeOptions',
    table(Mount_VolumeOptionsSchema, [
      field('NoCopy', 'noCopy', flag),
      field('Labels', 'labels', map),
      field('Subpath', 'subpath', text),
      optional('DriverConfig', 'driverConfig', driver),
    ]),
  ),
  optional('TmpfsOptions', 'tmpfsOptions', tmpfs),
]);
