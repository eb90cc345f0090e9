import type { Command, CommandGroup } from './command/command.ts';

/** The nouns; each is loaded when one of its commands is called, so that `skein --version` starts fast. */
export const groups: readonly (CommandGroup & { readonly section: 'management' | 'swarm' })[] = [
  { section: 'management', name: 'container', summary: 'Manage containers', load: () => container() },
  { section: 'management', name: 'image', summary: 'Manage images', load: () => image() },
  { section: 'management', name: 'network', summary: 'Manage networks', load: () => network() },
  { section: 'management', name: 'system', summary: 'Manage Skein', load: () => system() },
  { section: 'management', name: 'volume', summary: 'Manage volumes', load: () => volume() },
  { section: 'swarm', name: 'config', summary: 'Manage Swarm configs', load: () => objects('config') },
  { section: 'swarm', name: 'node', summary: 'Manage Swarm nodes', load: () => node() },
  { section: 'swarm', name: 'secret', summary: 'Manage Swarm secrets', load: () => objects('secret') },
  { section: 'swarm', name: 'service', summary: 'Manage Swarm services', load: () => service() },
  { section: 'swarm', name: 'stack', summary: 'Manage Swarm stacks', load: () => stack() },
  { section: 'swarm', name: 'swarm', summary: 'Manage Swarm', load: () => swarm() },
];

const container = async () => (await import('./commands/container/index.ts')).containerCommands;
const image = async () => (await import('./commands/image.ts')).imageCommands;
const network = async () => (await import('./commands/network.ts')).networkCommands;
const system = async () => (await import('./commands/system.ts')).systemCommands;
const node = async () => (await import('./commands/node.ts')).nodeCommands;
const service = async () => (await import('./commands/service/index.ts')).serviceCommands;
const stack = async () => (await import('./commands/stack/index.ts')).stackCommands;
const swarm = async () => (await import('./commands/swarm.ts')).swarmCommands;
const volume = async () => (await import('./commands/volume.ts')).volumeCommands;
const objects = async (kind: 'config' | 'secret') => (await import('./commands/objects.ts')).objectCommands(kind);

/** A command without a noun: its own name, and where it lives. */
export interface Shortcut {
  readonly name: string;
  readonly group: string;
  /** Its name under the noun. */
  readonly command: string;
  readonly summary: string;
  readonly common?: boolean;
}

const shortcutTable = `
run       container run      Create and run a new container from an image
exec      container exec     Execute a command in a running container
ps        container ls       List containers
pull      image pull         Download an image from a registry
images    image ls           List images
version   system version     Show the Skein version information
info      system info        Display system-wide information
attach    container attach   Attach local standard input, output, and error streams to a running container
cp        container cp       Copy files/folders between a container and the local filesystem
create    container create   Create a new container
diff      container diff     Inspect changes to files or directories on a container's filesystem
events    system events      Get real time events from the server
history   image history      Show the history of an image
import    image import       Import the contents from a tarball to create a filesystem image
inspect   system inspect     Return low-level information on Skein objects
kill      container kill     Kill one or more running containers
load      image load         Load an image from a tar archive or STDIN
logs      container logs     Fetch the logs of a container
pause     container pause    Pause all processes within one or more containers
port      container port     List port mappings or a specific mapping for the container
rename    container rename   Rename a container
restart   container restart  Restart one or more containers
rm        container rm       Remove one or more containers
rmi       image rm           Remove one or more images
save      image save         Save one or more images to a tar archive (streamed to STDOUT by default)
start     container start    Start one or more stopped containers
stats     container stats    Display a live stream of container(s) resource usage statistics
stop      container stop     Stop one or more running containers
tag       image tag          Create a tag TARGET_IMAGE that refers to SOURCE_IMAGE
top       container top      Display the running processes of a container
unpause   container unpause  Unpause all processes within one or more containers
update    container update   Update configuration of one or more containers
wait      container wait     Block until one or more containers stop, then print their exit codes
`;

const commonShortcuts = new Set(['run', 'exec', 'ps', 'pull', 'images', 'version', 'info']);

/** The commands without a noun. */
export const shortcuts: readonly Shortcut[] = shortcutTable
  .trim()
  .split('\n')
  .map((line) => {
    const [name = '', group = '', command = '', ...words] = line.split(/\s+/);
    return { name, group, command, summary: words.join(' '), common: commonShortcuts.has(name) };
  });

/** Commands that live under a noun here only to have a home, without being callable there. */
export const shortcutOnly = new Set(['system version', 'system inspect']);

/** @returns the group's command of this name or alias. */
export function findCommand(commands: readonly Command[], name: string): Command | undefined {
  return commands.find((command) => command.name === name || command.aliases.includes(name));
}
