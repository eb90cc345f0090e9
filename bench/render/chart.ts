/** One picture: what of the bare host's speed is left in an overlay, and how long starting takes. */

import type { Contestant } from '../contestants.ts';
import { medianOf, type Results, ratioOf, variantOf } from '../results.ts';
import { number } from './tables.ts';

interface Bar {
  readonly contestant: Contestant;
  readonly value: number;
}

interface Row {
  readonly label: string;
  readonly bars: readonly Bar[];
}

interface Panel {
  readonly title: string;
  readonly rows: readonly Row[];
  /** The value that fills the width. */
  readonly full: number;
  /** A line is drawn there. */
  readonly mark?: number;
}

const colours: Record<Contestant, string> = {
  bare: '#8a8f98',
  skein: '#1f6feb',
  'skein-variant': '#79b0ff',
  dockerd: '#d97706',
};
const width = 860;
const labelWidth = 270;
const barsWidth = 490;
const barHeight = 13;
const rowGap = 9;
const titleHeight = 34;
const margin = 16;

const trafficRows: readonly [string, string][] = [
  ['far.stream', 'TCP stream, across hosts'],
  ['far.rr', 'TCP_RR, across hosts'],
  ['far.crr', 'TCP_CRR, across hosts'],
  ['far.udp', 'UDP_RR, across hosts'],
  ['rules.rr', 'TCP_RR, nat rules on all hosts'],
  ['rules.crr', 'TCP_CRR, nat rules on all hosts'],
  ['near.stream', 'TCP stream, on one host'],
  ['near.rr', 'TCP_RR, on one host'],
];
const timeRows: readonly [string, string][] = [
  ['start.50.overlay.running', '50 tasks running, overlay'],
  ['start.50.none.running', '50 tasks running, no network'],
  ['start.50.overlay.removed', '50 tasks removed, overlay'],
  ['cluster.noticed.p50', 'dead node noticed, p50'],
  ['cluster.replaced', 'its task runs elsewhere'],
];

/** @returns an SVG document; it needs no style sheet and reads on light and dark pages. */
export function chart(results: Results): string {
  const traffic = trafficRows.flatMap(([id, label]) => row(label, relative(results, id)));
  const times = timeRows.flatMap(([id, label]) => row(label, absolute(results, id)));
  const panels: Panel[] = [
    {
      title: 'Speed, as a share of the bare host (longer is better)',
      rows: traffic,
      full: Math.max(1.1, largest(traffic)),
      mark: 1,
    },
    { title: 'Seconds (shorter is better)', rows: times, full: largest(times) },
  ].filter(({ rows }) => rows.length > 0);
  let y = margin;
  const parts = panels.map((panel) => {
    const drawn = drawPanel(panel, y);
    y = drawn.end + margin;
    return drawn.text;
  });
  const height = y + titleHeight;
  const background = `<rect width="${width}" height="${height}" fill="#ffffff"/>`;
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}" font-family="sans-serif" font-size="12" fill="#1c1e21">\n<title>Skein beside dockerd and the bare host</title>\n${background}\n${parts.join('\n')}\n${legend(y, variantOf(results))}\n</svg>\n`;
}

const compared: readonly Contestant[] = ['skein', 'skein-variant', 'dockerd'];

function row(label: string, bars: readonly Bar[]): Row[] {
  return bars.length > 0 ? [{ label, bars }] : [];
}

function absolute(results: Results, id: string): Bar[] {
  return compared.flatMap((contestant) => {
    const value = medianOf(results, id, contestant);
    return value === undefined ? [] : [{ contestant, value }];
  });
}

function relative(results: Results, id: string): Bar[] {
  return compared.flatMap((contestant) => {
    const value = ratioOf(results, { measure: id, contestant }, { measure: id, contestant: 'bare' });
    return Number.isFinite(value) ? [{ contestant, value }] : [];
  });
}

const largest = (rows: readonly Row[]): number =>
  Math.max(0, ...rows.flatMap(({ bars }) => bars.map(({ value }) => value)));

function drawPanel({ title, rows, full, mark }: Panel, top: number): { text: string; end: number } {
  const parts = [`<text x="${margin}" y="${top + 16}" font-size="14" font-weight="bold">${title}</text>`];
  let y = top + titleHeight;
  for (const { label, bars } of rows) {
    const middle = y + (bars.length * barHeight) / 2 + 4;
    parts.push(`<text x="${labelWidth - 10}" y="${middle}" text-anchor="end">${label}</text>`);
    for (const { contestant, value } of bars) {
      const length = ((value / full) * barsWidth).toFixed(1);
      parts.push(
        `<rect x="${labelWidth}" y="${y}" width="${length}" height="${barHeight - 2}" fill="${colours[contestant]}"/>`,
        `<text x="${labelWidth + Number(length) + 5}" y="${y + 10}" font-size="11">${number(value)}</text>`,
      );
      y += barHeight;
    }
    y += rowGap;
  }
  if (mark !== undefined) {
    const x = labelWidth + (mark / full) * barsWidth;
    parts.push(
      `<line x1="${x}" y1="${top + titleHeight - 6}" x2="${x}" y2="${y}" stroke="#1c1e21" stroke-dasharray="3 3"/>`,
    );
  }
  return { text: parts.join('\n'), end: y };
}

function legend(y: number, variant: string): string {
  const entries: readonly [Contestant, string][] = [
    ['skein', 'Skein'],
    ['dockerd', 'dockerd 20.10'],
    ...(variant === '' ? [] : [['skein-variant', `Skein ${variant}`] satisfies [Contestant, string]]),
  ];
  return entries
    .map(([contestant, label], index) => {
      const x = labelWidth + index * 140;
      return `<rect x="${x}" y="${y}" width="11" height="11" fill="${colours[contestant]}"/><text x="${x + 17}" y="${y + 10}">${label}</text>`;
    })
    .join('');
}
