import { attach, start } from './attach.ts';
import { copy } from './copy.ts';
import { diff } from './diff.ts';
import { exec } from './exec.ts';
import { kill, pause, prune, remove, rename, restart, stop, unpause, wait } from './life.ts';
import { list } from './list.ts';
import { logs } from './logs.ts';
import { inspect, port, top } from './look.ts';
import { create, run } from './run.ts';
import { stats } from './stats.ts';
import { update } from './update.ts';

/** `skein container …`. */
export const containerCommands = [
  attach,
  copy,
  create,
  diff,
  exec,
  inspect,
  kill,
  list,
  logs,
  pause,
  port,
  prune,
  remove,
  rename,
  restart,
  run,
  start,
  stats,
  stop,
  top,
  unpause,
  update,
  wait,
];
