import { defaultHost } from './client/host.ts';
import { CommandError } from './command/errors.ts';
import { flagTable, parseLine } from './command/flags.ts';
import { flagLines } from './command/help.ts';
import { program } from './program.ts';
import { type ExtraCommand, type Streams, withUsage } from './run.ts';

/** What `skein daemon` is told on its command line. */
export interface DaemonSettings {
  readonly dataRoot: string;
  readonly execRoot: string;
  readonly hosts: string[];
  readonly logLevel: string;
  readonly containerd?: string;
  readonly labels: string[];
  readonly pidFile?: string;
  readonly cgroupParent?: string;
  readonly fastPath: 'auto' | 'off';
  readonly connectTime: 'auto' | 'off';
}

const flags = flagTable(`
  --cgroup-parent string              Parent cgroup of the containers
  --connect-time string=auto          Lead containers' connections to virtual IPs when they are made, by BPF ("auto": where the kernel can, "off")
  --containerd string                 Socket of a running containerd; without it the daemon starts its own
  --data-root string=/var/lib/skein   Where state lives that outlasts a reboot
  -D, --debug                         Log at level debug
  --exec-root string=/run/skein       Where sockets and namespaces live
  --fast-path string=auto             Lead containers' TCP and UDP past the bridges, by BPF ("auto": where the kernel can, "off")
  -H, --host list                     Socket to listen on (default ${defaultHost})
  --label list                        Label of this engine ("key=value")
  -l, --log-level string=info         Least level that is logged ("debug", "info", "warn", "error", "fatal")
  -p, --pidfile string                File for the daemon's process ID
`);
const summary = 'Run the Skein daemon in the foreground';

/** `skein daemon`: reads the flags and hands them to `start`, which ends with the daemon. */
export function daemonCommand(streams: Streams, start: (settings: DaemonSettings) => Promise<void>): ExtraCommand {
  const path = `${program} daemon`;
  const usage = `${path} [OPTIONS]`;
  return {
    name: 'daemon',
    summary,
    run: async (argv) => {
      const line = withUsage(usage, path, () => parseLine(argv, flags, true));
      if (line.help) {
        streams.out.write(`Usage:  ${usage}\n\n${summary}\n\nOptions:\n${flagLines(flags)}\n`);
        return 0;
      }
      if (line.args.length > 0) throw new CommandError(`${program}: '${path}' accepts no arguments`);
      await start(settingsOf(line.flags));
      return 0;
    },
  };
}

/** Of a flag for what the kernel may be able to do. */
function modeOf(flag: string, value: string): 'auto' | 'off' {
  if (value === 'auto' || value === 'off') return value;
  throw new CommandError(`${program}: invalid argument "${value}" for --${flag}: it is "auto" or "off"`);
}

function settingsOf(line: ReturnType<typeof parseLine>['flags']): DaemonSettings {
  const hosts = line.list('host');
  const optional = {
    containerd: line.text('containerd'),
    pidFile: line.text('pidfile'),
    cgroupParent: line.text('cgroup-parent'),
  };
  return {
    dataRoot: line.text('data-root'),
    execRoot: line.text('exec-root'),
    hosts: hosts.length > 0 ? hosts : [defaultHost],
    logLevel: line.on('debug') ? 'debug' : line.text('log-level'),
    labels: line.list('label'),
    fastPath: modeOf('fast-path', line.text('fast-path')),
    connectTime: modeOf('connect-time', line.text('connect-time')),
    ...Object.fromEntries(Object.entries(optional).filter(([, value]) => value !== '')),
  };
}
