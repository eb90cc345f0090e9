import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { GoTime, structPolicy, Template, TemplateError, type Value } from './index.ts';

const data: Value = {
  Name: 'test',
  Replicas: 2,
  Ratio: 0.5,
  Id: 'abc',
  On: true,
  Nothing: null,
  List: ['a', 'b'],
  Networks: { b: { IPAddress: '10.0.1.4' }, a: { IPAddress: '10.0.1.3' } },
};

/** Template → what Go's text/template with docker's functions prints. */
const results: readonly (readonly [string, string])[] = [
  ['{{.Name}}', 'test'],
  ['{{range .Networks}}{{.IPAddress}}{{end}}', '10.0.1.310.0.1.4'],
  ['{{range $name, $n := .Networks}}{{$name}}={{$n.IPAddress}};{{end}}', 'a=10.0.1.3;b=10.0.1.4;'],
  ['{{range $i, $x := .List}}{{if $i}},{{end}}{{$x}}{{end}}', 'a,b'],
  ['{{range .List}}{{if eq . "b"}}{{break}}{{end}}{{.}}{{end}}', 'a'],
  ['{{range .Nothing}}x{{else}}none{{end}}', 'none'],
  ['{{.List}} {{.Networks}}', '[a b] map[a:map[IPAddress:10.0.1.3] b:map[IPAddress:10.0.1.4]]'],
  ['{{.Nothing}} {{.On}} {{.Ratio}}', '<no value> true 0.5'],
  ['{{json .List}} {{json .Networks.a}}', '["a","b"] {"IPAddress":"10.0.1.3"}'],
  ['{{json "<&>"}}', '"\\u003c\\u0026\\u003e"'],
  ['{{.ID}}', 'abc'],
  ['{{if eq .Replicas 1}}one{{else if eq .Replicas 2 3}}two{{else}}many{{end}}', 'two'],
  ['{{if and .On (gt .Replicas 1)}}yes{{end}}{{if not .On}}no{{end}}{{or "" "x"}}', 'yesx'],
  ['{{with .Networks.a}}{{.IPAddress}}{{$.Name}}{{else}}-{{end}}', '10.0.1.3test'],
  ['{{len .List}}{{index .List 1}}{{index .Networks "a" "IPAddress"}}', '2b10.0.1.3'],
  ['{{printf "%-6s|%4d|%05d|%q|%v|%.2f|%x" .Name 7 42 "a" .List 1.5 255}}', 'test  |   7|00042|"a"|[a b]|1.50|ff'],
  ['{{.Name | upper | printf "%s!"}}', 'TEST!'],
  [
    '{{join .List "-"}} {{index (split "a:b" ":") 1}} {{title "ab"}}|{{pad "x" 1 2}}|{{truncate "abcdef" 3}}',
    'a-b b Ab| x  |abc',
  ],
  ['a {{- /* comment */ -}} b', 'ab'],
  ['{{- .Name -}}  \n x', 'testx'],
  ['{{$x := 1}}{{$x = 2}}{{$x}}', '2'],
  ['{{print 1 2 "a" "b" 3}}|{{println "a" 1}}', '1 2ab3|a 1\n'],
  ['{{`raw "text"`}}{{"tab\\t"}}', 'raw "text"tab\t'],
  ['{{html "<a>"}}', '&lt;a&gt;'],
];

for (const [source, expected] of results) {
  test(`prints what Go prints: ${JSON.stringify(source)}`, () => {
    assert.equal(new Template(source).run(data), expected);
  });
}

const errors: readonly (readonly [string, string])[] = [
  ['{{.Foo', 'template: :1: unclosed action'],
  ['{{.Client.', 'template: :1: unclosed action'],
  ['{{.Client.}}', 'template: :1: unexpected "." in operand'],
  ['{{foo}}', 'template: :1: function "foo" not defined'],
  ['{{end}}', 'template: :1: unexpected {{end}}'],
  ['{{range .List}}', 'template: :1: unexpected EOF'],
  ['\n{{"a', 'template: :2: unterminated quoted string'],
  ['{{}}', 'template: :1: missing value for command'],
  ['{{$y}}', 'template: :1: undefined variable "$y"'],
  ['{{.Missing}}', 'template: :1:2: executing "" at <.Missing>: map has no entry for key "Missing"'],
  ['x{{.Foo.Bar}}', 'template: :1:7: executing "" at <.Foo.Bar>: map has no entry for key "Foo"'],
  ['{{.Nothing.X}}', 'template: :1:10: executing "" at <.Nothing.X>: nil data; no entry for key "X"'],
  ['{{index .List 5}}', 'template: :1:2: executing "" at <index .List 5>: error calling index: index out of range: 5'],
];

for (const [source, expected] of errors) {
  test(`refuses in Go's words: ${JSON.stringify(source)}`, () => {
    assert.throws(
      () => new Template(source).run(data),
      (error) => {
        assert.ok(error instanceof TemplateError);
        assert.equal(error.message, expected);
        return true;
      },
    );
  });
}

test('names the type whose field is missing where rows have a type', () => {
  assert.throws(
    () => new Template('{{.Foo}}').run({}, structPolicy('*node.nodeContext')),
    /at <.Foo>: can't evaluate field Foo in type \*node\.nodeContext/,
  );
});

test('prints text without actions as it is', () => {
  fc.assert(
    fc.property(
      fc.string().filter((text) => !text.includes('{{')),
      (text) => {
        assert.equal(new Template(text).run(null), text);
      },
    ),
  );
});

test('json prints what parses back to the same value', () => {
  fc.assert(
    fc.property(fc.jsonValue(), (value) => {
      assert.deepEqual(JSON.parse(new Template('{{json .}}').run(value as Value)), JSON.parse(JSON.stringify(value)));
    }),
  );
});

test('ends every input with a result or a TemplateError', () => {
  const pieces = fc.constantFrom(
    '{{',
    '}}',
    '.',
    'a',
    ' ',
    '|',
    '(',
    ')',
    '"',
    'if',
    'end',
    'range',
    'else',
    '$x',
    ':=',
    '1',
    '-',
  );
  fc.assert(
    fc.property(fc.array(pieces, { maxLength: 12 }), (words) => {
      try {
        new Template(words.join('')).run({ a: 1 });
      } catch (error) {
        assert.ok(error instanceof TemplateError, `${words.join('')}: ${error}`);
      }
    }),
    { numRuns: 500 },
  );
});

test('prints a time as Go does, and as ISO text in JSON', () => {
  const at = new GoTime('2026-11-25T04:04:52.583137018Z');
  const template = new Template('{{.At}} {{json .At}} {{json .}}');
  assert.equal(
    template.run({ At: at }),
    '2026-11-25 04:04:52.583137018 +0000 UTC "2026-11-25T04:04:52.583137018Z" {"At":"2026-11-25T04:04:52.583137018Z"}',
  );
});
