import assert from 'node:assert/strict';
import { test } from 'node:test';
import { indentJson, jsonText, parseJson } from '../client/json.ts';
import {
  alignTabs,
  bytesSize,
  goDuration,
  goTime,
  humanDuration,
  humanSize,
  type Listing,
  renderList,
  timestampOf,
} from './index.ts';

test('aligns columns with three spaces, ten characters at least', () => {
  assert.equal(
    alignTabs('ID\tNAME\tLAST\nab\tuber-network\t\n'),
    'ID        NAME           LAST\nab        uber-network   \n',
  );
});

const minute = 60_000;
const lengths: readonly (readonly [number, string])[] = [
  [900, 'Less than a second'],
  [1000, '1 second'],
  [59_000, '59 seconds'],
  [minute, 'About a minute'],
  [59 * minute, '59 minutes'],
  [60 * minute, 'About an hour'],
  [47 * 60 * minute, '47 hours'],
  [48 * 60 * minute, '2 days'],
  [14 * 24 * 60 * minute, '2 weeks'],
  [60 * 24 * 60 * minute, '2 months'],
  [730 * 24 * 60 * minute, '2 years'],
];
for (const [milliseconds, words] of lengths) {
  test(`says ${words}`, () => assert.equal(humanDuration(milliseconds), words));
}

test('prints sizes, durations and times as Go does', () => {
  assert.equal(humanSize(1_982_256, 3), '1.98MB');
  assert.equal(humanSize(0), '0B');
  assert.equal(bytesSize(25_276_510_208), '23.54GiB');
  assert.equal(goDuration(5e9), '5s');
  assert.equal(goDuration(2160 * 3600e9), '2160h0m0s');
  assert.equal(goDuration(1.5e6), '1.5ms');
  assert.equal(goTime('2026-11-23T23:50:44.148590267Z'), '2026-11-23 23:50:44.148590267 +0000 UTC');
  assert.equal(timestampOf('42m', 3_600_000), '1080.000000000');
});

test('keeps integers beyond 2^53 exact and escapes as Go does', () => {
  const text = '{"timeNano":1764043492583137018,"small":1,"html":"<a>"}';
  assert.equal(jsonText(parseJson(text)), text);
  assert.equal(jsonText(parseJson('"<a>"'), true), '"\\u003ca\\u003e"');
});

test('indents JSON without touching what it says', () => {
  assert.equal(
    indentJson('[{"a":{},"b":[],"c":1.50,"d":"x:{,"}]'),
    '[\n    {\n        "a": {},\n        "b": [],\n        "c": 1.50,\n        "d": "x:{,"\n    }\n]',
  );
});

const listing: Listing<{ id: string; labels: Record<string, string> }> = {
  goType: '*x.xContext',
  table: ['ID', 'Labels'],
  quiet: 'ID',
  columns: {
    ID: { header: 'ID', value: ({ id }) => id },
    Labels: { header: 'LABELS', value: ({ labels }) => Object.keys(labels).join() },
    Label: {
      header: 'LABEL',
      value:
        ({ labels }) =>
        (key) =>
          labels[String(key)] ?? '',
    },
  },
};
const rows = [{ id: 'one', labels: { 'com.a.role': 'web' } }];

test('lists as table, quiet, JSON, custom table and template', () => {
  assert.equal(renderList(listing, rows, { format: '' }), 'ID        LABELS\none       com.a.role\n');
  assert.equal(renderList(listing, rows, { format: '', quiet: true }), 'one\n');
  assert.equal(renderList(listing, rows, { format: 'json' }), '{"ID":"one","Labels":"com.a.role"}\n');
  assert.equal(
    renderList(listing, rows, { format: 'table {{.ID}}\\t{{upper (.Label "com.a.role")}}' }),
    'ID        role\none       WEB\n',
  );
  assert.equal(renderList(listing, rows, { format: '{{.ID}}!' }), 'one!\n');
  assert.throws(
    () => renderList(listing, rows, { format: '{{.Foo}}' }),
    /template parsing error: template: :1:2: executing "" at <.Foo>: can't evaluate field Foo in type \*x\.xContext/,
  );
});
