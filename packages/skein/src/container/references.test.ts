import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { familiarReference, fullReference, parseReference, withDefaultTag } from './references.ts';

const hex = 'a'.repeat(64);

/** Input → full form, familiar form (distribution/reference normalize_test.go has such pairs). */
const valid: [string, string, string][] = [
  ['ubuntu', 'docker.io/library/ubuntu:latest', 'ubuntu:latest'],
  ['ubuntu:22.04', 'docker.io/library/ubuntu:22.04', 'ubuntu:22.04'],
  ['library/ubuntu', 'docker.io/library/ubuntu:latest', 'ubuntu:latest'],
  ['docker.io/ubuntu', 'docker.io/library/ubuntu:latest', 'ubuntu:latest'],
  ['index.docker.io/library/ubuntu', 'docker.io/library/ubuntu:latest', 'ubuntu:latest'],
  ['me/app', 'docker.io/me/app:latest', 'me/app:latest'],
  ['localhost/app', 'localhost/app:latest', 'localhost/app:latest'],
  ['localhost:5000/app:v1', 'localhost:5000/app:v1', 'localhost:5000/app:v1'],
  ['[::1]:5000/a/b', '[::1]:5000/a/b:latest', '[::1]:5000/a/b:latest'],
  ['quay.io/a/b__c.d-e', 'quay.io/a/b__c.d-e:latest', 'quay.io/a/b__c.d-e:latest'],
  [`ubuntu@sha256:${hex}`, `docker.io/library/ubuntu@sha256:${hex}`, `ubuntu@sha256:${hex}`],
  [`ubuntu:1@sha256:${hex}`, `docker.io/library/ubuntu:1@sha256:${hex}`, `ubuntu:1@sha256:${hex}`],
];

for (const [text, full, familiar] of valid) {
  test(`${text} is ${full}`, () => {
    const reference = withDefaultTag(parseReference(text));
    assert.equal(fullReference(reference), full);
    assert.equal(familiarReference(reference), familiar);
  });
}

const invalid: [string, RegExp][] = [
  ['', /^SkeinError: invalid reference format$/],
  ['Ubuntu', /repository name must be lowercase$/],
  ['UPPER CASE', /repository name must be lowercase$/],
  ['lower case', /^SkeinError: invalid reference format$/],
  ['a//b', /invalid reference format/],
  ['a:', /invalid reference format/],
  ['a@sha256:abc', /invalid reference format/],
  ['-a', /invalid reference format/],
  [hex, /cannot specify 64-byte hexadecimal strings$/],
  [`${'a'.repeat(250)}/b`, /must not be more than 255 characters/],
];

for (const [text, error] of invalid) {
  test(`"${text.slice(0, 20)}" is refused`, () => assert.throws(() => parseReference(text), error));
}

test('the familiar form of a reference names the same reference', () => {
  const component = fc.stringMatching(/^[a-z0-9]{1,8}([._-][a-z0-9]{1,4})?$/);
  const domain = fc.option(fc.constantFrom('docker.io', 'quay.io', 'localhost:5000', 'r.example.com:443'), {
    nil: undefined,
  });
  const tag = fc.option(fc.stringMatching(/^[A-Za-z0-9_][A-Za-z0-9_.-]{0,9}$/), { nil: undefined });
  fc.assert(
    fc.property(domain, fc.array(component, { minLength: 1, maxLength: 3 }), tag, (host, path, suffix) => {
      // Docker's familiar form is ambiguous when the first component looks like a domain.
      fc.pre(!path[0]?.includes('.') && path[0] !== 'localhost');
      const text = `${host ? `${host}/` : ''}${path.join('/')}${suffix ? `:${suffix}` : ''}`;
      const reference = parseReference(text);
      assert.deepEqual(parseReference(familiarReference(reference)), reference);
      assert.deepEqual(parseReference(fullReference(reference)), reference);
    }),
  );
});
