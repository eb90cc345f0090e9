/** `skein lab …`. */
import { dirname, join } from 'node:path';
import type { Command } from 'commander';
import { Lab, numberOfNodes } from './lab.ts';
import { outsideAddresses, type UnderlayKind, underlayKinds } from './underlay.ts';

/** Where the `skein` launcher lies beside the bundle: dist/main.js, bin/skein. */
function binDirectory(): string {
  return join(dirname(process.argv[1] ?? ''), '../bin');
}

/** The command that started this process, to start daemons with: Node and the bundle. */
function ownCommand(): string[] {
  return [process.execPath, ...process.execArgv, process.argv[1] ?? ''];
}

function openLab(command: Command): Lab {
  const { name, daemonLogLevel } = command.optsWithGlobals<{ name: string; daemonLogLevel?: string }>();
  return new Lab({
    name,
    skein: ownCommand(),
    binDirectory: binDirectory(),
    ...(daemonLogLevel ? { logLevel: daemonLogLevel } : {}),
  });
}

function printHosts(lab: Lab): void {
  const rows = [
    ['HOST', 'ADDRESS', 'SKEIND', 'DOCKER_HOST'],
    ...lab
      .hosts()
      .map((host) => [host.name, host.address, host.daemon ? `pid ${host.daemon}` : 'not running', host.dockerHost]),
  ];
  const widths = rows[0]?.map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0))) ?? [];
  for (const row of rows)
    console.log(
      row
        .map((cell, column) => cell.padEnd(widths[column] ?? 0))
        .join('   ')
        .trimEnd(),
    );
}

/** Adds `lab up|ls|exec|shell|start|kill|down` to the program. */
export function registerLab(program: Command): void {
  const lab = program
    .command('lab')
    .description('A cluster on this machine: hosts as network namespaces, a skeind in each');
  lab.option('--name <name>', 'Name of the lab', 'default');
  lab
    .command('up')
    .description('Make the hosts and start a skeind in each')
    .option('--nodes <number>', 'Number of hosts', '2')
    .option('--underlay <families>', `IP of the hosts' own network: ${underlayKinds.join(', ')}`, 'ipv4')
    .option('--daemon-log-level <level>', 'Log level of the daemons')
    .action(async (options: { nodes: string; underlay: UnderlayKind }, command: Command) => {
      const one = openLab(command);
      await one.up({ nodes: numberOfNodes(options.nodes), underlay: options.underlay });
      printHosts(one);
      console.log(
        `\nThe host "outside" (${outsideAddresses(options.underlay).outside.join(', ')}) stands for the rest of the world.`,
      );
      console.log('Talk to a node with DOCKER_HOST, or from inside: skein lab shell node1');
    });
  lab
    .command('ls')
    .description('List the hosts')
    .action((_options: object, command: Command) => printHosts(openLab(command)));
  lab
    .command('exec <host> <command...>')
    .description('Run a command inside a host: skein lab exec node1 -- docker ps')
    .passThroughOptions()
    .action((host: string, words: string[], _options: object, command: Command) => {
      process.exitCode = openLab(command)
        .host(host)
        .run(words[0] === '--' ? words.slice(1) : words);
    });
  lab
    .command('shell <host>')
    .description('A shell inside a host')
    .action((host: string, _options: object, command: Command) => {
      process.exitCode = openLab(command)
        .host(host)
        .run([process.env.SHELL ?? '/bin/sh']);
    });
  lab
    .command('start <host>')
    .description("Start the host's skeind again")
    .action(async (host: string, _options: object, command: Command) => openLab(command).startDaemon(host));
  lab
    .command('kill <host>')
    .description("End the host's skeind with SIGKILL; its containers run on")
    .action(async (host: string, _options: object, command: Command) => openLab(command).stopDaemon(host, 'SIGKILL'));
  lab
    .command('down')
    .description('End everything of the lab and remove its files')
    .action(async (_options: object, command: Command) => openLab(command).down());
}
