import { asList, asText, at, type JsonObject } from '../../client/json.ts';
import { command } from '../../command/command.ts';
import { CommandError } from '../../command/errors.ts';
import type { Flags } from '../../command/flags.ts';
import { parseBytes, parseDecimal } from '../../command/units.ts';
import { forEachName } from '../each.ts';
import { limitFlags, restartPolicy } from './run-flags.ts';

export const update = command(
  'update [OPTIONS] CONTAINER [CONTAINER...]',
  'Update configuration of one or more containers',
  `
  --blkio-weight uint         Block IO (relative weight), between 10 and 1000, or 0 to disable
  ${limitFlags}
  --restart string            Restart policy to apply when a container exits
  `,
  async (context, flags, names) => {
    const body = changesOf(flags);
    if (Object.keys(body).length === 0) {
      throw new CommandError('you must provide one or more flags when using this command');
    }
    await forEachName(context, names, async (name) => {
      const answer = await context.client.json('POST', `/containers/${encodeURIComponent(name)}/update`, { body });
      for (const warning of asList(at(answer, 'Warnings'))) context.err.write(`${asText(warning)}\n`);
      return name;
    });
  },
);

function changesOf(flags: Flags): JsonObject {
  const numbers = {
    BlkioWeight: 'blkio-weight',
    CpuPeriod: 'cpu-period',
    CpuQuota: 'cpu-quota',
    CpuShares: 'cpu-shares',
    PidsLimit: 'pids-limit',
  };
  const texts = { CpusetCpus: 'cpuset-cpus', CpusetMems: 'cpuset-mems' };
  const sizes = { Memory: 'memory', MemoryReservation: 'memory-reservation' };
  const changes: JsonObject = {};
  for (const [field, flag] of Object.entries(numbers)) if (flags.changed(flag)) changes[field] = flags.number(flag);
  for (const [field, flag] of Object.entries(texts)) if (flags.changed(flag)) changes[field] = flags.text(flag);
  for (const [field, flag] of Object.entries(sizes)) {
    if (flags.changed(flag)) changes[field] = parseBytes(flags.text(flag));
  }
  const swap = flags.text('memory-swap');
  if (swap !== '') changes.MemorySwap = swap === '-1' ? -1 : parseBytes(swap);
  if (flags.changed('cpus')) changes.NanoCpus = parseDecimal(flags.text('cpus'));
  if (flags.changed('restart')) changes.RestartPolicy = restartPolicy(flags.text('restart'));
  return changes;
}
