/** /_ping, /version, /info, /events, /system/df, /auth. */

import type { EngineEvent } from '../../common/index.ts';
import { notBuilt } from '../errors.ts';
import { parseFilters } from '../filters.ts';
import { timeParameter } from '../parameters.ts';
import { get, head, json, post, stream, text } from '../reply.ts';
import { apiVersion } from '../router.ts';
import { jsonLine, write } from '../streams.ts';
import type { Call, Engine, Reply, Route } from '../types.ts';
import { diskUsage } from '../views/disk-usage.ts';
import { eventFilters, eventJson, eventMatches } from '../views/events.ts';
import { swarmHeader, systemInfo, systemVersion } from '../views/info.ts';

/** How many events may wait for one slow reader; beyond, the reader is cut, as it has lost some. */
const maxWaitingEvents = 1_024;
/** setTimeout's longest delay. */
const longestDelayMs = 2 ** 31 - 1;

export function systemRoutes(engine: Engine): Route[] {
  const listeners = { count: 0 };
  const ping = (): Reply =>
    text('OK', {
      'Cache-Control': 'no-cache, no-store, must-revalidate',
      Pragma: 'no-cache',
      'Docker-Experimental': 'false',
      Swarm: swarmHeader(engine),
      'Api-Version': apiVersion,
    });
  return [
    get('/_ping', ping),
    head('/_ping', ping),
    get('/version', async () => json(await systemVersion(engine))),
    get('/info', async () => json(await systemInfo(engine, listeners.count))),
    get('/events', (call) => followEvents(engine, call, listeners)),
    get('/system/df', async () => json(await diskUsage(engine))),
    post('/auth', () => {
      throw notBuilt(
        'Skein does not check registry credentials at login: they are used, and checked, when an image is pulled.',
      );
    }),
  ];
}

function followEvents(engine: Engine, call: Call, listeners: { count: number }): Reply {
  const filters = parseFilters(call.query.get('filters'), eventFilters);
  const since = timeParameter(call, 'since');
  const until = timeParameter(call, 'until');
  const wanted = (event: EngineEvent): boolean =>
    (until === undefined || event.timeNano <= until) && eventMatches(event, filters);
  return stream('application/json', async (response, signal) => {
    const waiting: EngineEvent[] =
      since === undefined && until === undefined
        ? []
        : engine.events.past().filter((event) => event.timeNano >= (since ?? 0n) && wanted(event));
    let ended = false;
    let wake: () => void = () => {};
    const end = (): void => {
      ended = true;
      wake();
    };
    signal.addEventListener('abort', end, { once: true });
    const untilMs = until === undefined ? longestDelayMs : Number(until / 1_000_000n) - Date.now();
    const timer = setTimeout(end, Math.min(Math.max(untilMs, 0), longestDelayMs));
    const unsubscribe = engine.events.subscribe((event) => {
      if (!wanted(event)) return;
      waiting.push(event);
      if (waiting.length > maxWaitingEvents) response.destroy();
      wake();
    });
    listeners.count++;
    try {
      for (;;) {
        const event = waiting.shift();
        if (event !== undefined) {
          if (!(await write(response, jsonLine(eventJson(event)), signal))) return;
          continue;
        }
        if (ended) return;
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
      }
    } finally {
      listeners.count--;
      unsubscribe();
      clearTimeout(timer);
    }
  });
}
