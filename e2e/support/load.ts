/**
 * A client under whose feet the tests change things; run as `node load.ts <url> <seconds> [requests per second]`. It
 * begins a request at each tick, whatever became of those before (open loop), each on a connection of its own, until
 * all are sent or SIGTERM comes. Ticks that it sleeps through on a busy machine come later, not all at once: that would
 * overflow the listen queue of a small server (busybox httpd's has nine places), whose kernel then drops what comes.
 * Prints one JSON object, a LoadReport.
 */
import { get } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';

/** What came of it. */
export interface LoadReport {
  readonly sent: number;
  /** Body (trimmed) → number of answers. */
  readonly answers: Readonly<Record<string, number>>;
  /** Error, or HTTP status from 400 on → number of requests. */
  readonly failures: Readonly<Record<string, number>>;
  /** Slowest answer. */
  readonly slowestMs: number;
}

const requestTimeoutMs = 10_000;

function request(url: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const sent = get(url, { agent: false, timeout: requestTimeoutMs }, (response) => {
      let body = '';
      response.setEncoding('utf8').on('data', (text: string) => {
        body += text;
      });
      response.on('error', reject).on('end', () => {
        const { statusCode = 0 } = response;
        if (statusCode < 400) resolve(body.trim());
        else reject(new Error(`status ${statusCode}`));
      });
    });
    sent.on('timeout', () => sent.destroy(new Error('time-out')));
    sent.on('error', reject);
  });
}

async function run(url: string, seconds: number, perSecond: number): Promise<LoadReport> {
  const answers: Record<string, number> = {};
  const failures: Record<string, number> = {};
  const count = (counts: Record<string, number>, key: string): void => {
    counts[key] = (counts[key] ?? 0) + 1;
  };
  let slowestMs = 0;
  const pending: Promise<void>[] = [];
  const one = async (): Promise<void> => {
    const start = performance.now();
    try {
      count(answers, await request(url));
    } catch (error) {
      count(
        failures,
        error instanceof Error ? ((error as NodeJS.ErrnoException).code ?? error.message) : String(error),
      );
    }
    slowestMs = Math.max(slowestMs, Math.round(performance.now() - start));
  };
  const interval = 1000 / perSecond;
  let due = performance.now();
  const total = Math.round(seconds * perSecond);
  const ending = new AbortController();
  process.once('SIGTERM', () => ending.abort());
  for (let sent = 0; sent < total && !ending.signal.aborted; sent++) {
    await sleep(Math.max(0, due - performance.now()));
    pending.push(one());
    const now = performance.now();
    due = (now > due + interval ? now : due) + interval;
  }
  await Promise.all(pending);
  return { sent: pending.length, answers, failures, slowestMs };
}

const [url, seconds = '1', perSecond = '100'] = process.argv.slice(2);
if (url !== undefined) console.log(JSON.stringify(await run(url, Number(seconds), Number(perSecond))));
