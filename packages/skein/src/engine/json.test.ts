import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { errorText } from '../common/index.ts';
import { parse, stringify } from './json.ts';

const complaint = (text: string): string => {
  try {
    parse(text);
    return 'parsed';
  } catch (error) {
    return errorText(error);
  }
};

describe('JSON in the manner of Go', () => {
  it('refuses in the words of encoding/json', () => {
    const cases: Record<string, string> = {
      notjson: "invalid character 'o' in literal null (expecting 'u')",
      '': 'invalid JSON: got EOF while reading request body',
      '{': 'unexpected EOF',
      '{a}': "invalid character 'a' looking for beginning of object key string",
      '{"a" 1}': "invalid character '1' after object key",
      '{"a":1 "b"}': `invalid character '"' after object key:value pair`,
      '[1 2]': "invalid character '2' after array element",
      '<html>': "invalid character '<' looking for beginning of value",
      '"a\nb"': "invalid character '\\n' in string literal",
      '"\\x"': "invalid character 'x' in string escape code",
      '"\\u00g0"': "invalid character 'g' in \\u hexadecimal character escape",
      '-x': "invalid character 'x' in numeric literal",
      '1.x': "invalid character 'x' after decimal point in numeric literal",
      '1ex': "invalid character 'x' in exponent of numeric literal",
      '{} {}': 'unexpected content after JSON',
      '{"a":tru}': "invalid character '}' in literal true (expecting 'e')",
      "{'a':1}": "invalid character '\\'' looking for beginning of object key string",
    };
    for (const [text, expected] of Object.entries(cases)) assert.equal(complaint(text), expected, text);
  });

  it('reads back whatever it writes, 64-bit integers with all their digits', () => {
    assert.equal(stringify({ timeNano: 1_795_477_847_866_535_383n }), '{"timeNano":1795477847866535383}');
    fc.assert(
      fc.property(fc.bigInt({ min: 2n ** 53n, max: 2n ** 63n - 1n }), (value) => {
        assert.deepEqual(parse(stringify([value])), [value]);
      }),
    );
    fc.assert(
      fc.property(fc.jsonValue(), (value) => {
        const text = JSON.stringify(value);
        assert.equal(
          JSON.stringify(parse(text), (_key, each: unknown) => (typeof each === 'bigint' ? Number(each) : each)),
          text,
        );
      }),
    );
  });

  it('always finds where a damaged text goes wrong', () => {
    fc.assert(
      fc.property(fc.jsonValue(), fc.nat(), fc.constantFrom('', '}', '"', ',', 'x', '\\'), (value, at, insert) => {
        const text = JSON.stringify(value);
        const damaged = text.slice(0, at % (text.length + 1)) + insert + text.slice((at % (text.length + 1)) + 1);
        let valid = true;
        try {
          JSON.parse(damaged);
        } catch {
          valid = false;
        }
        const told = complaint(damaged);
        assert.equal(told === 'parsed', valid, damaged);
        if (!valid) assert.match(told, /^(invalid character|unexpected|invalid JSON)/, damaged);
      }),
      { numRuns: 300 },
    );
  });
});
