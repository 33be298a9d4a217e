/** What a principal may do follows from its rights and prefixes alone, whatever the keys look like. */
import assert from 'node:assert/strict';
import test from 'node:test';
import fc from 'fast-check';
import { Principal } from '../../src/access/principal.ts';
import { RIGHTS, type Right } from '../../src/access/right.ts';
import { Problem } from '../../src/node/problem.ts';

const text = fc
  .oneof(
    fc.constantFrom(
      'a',
      'user:',
      'user:1',
      'USER:',
      '',
      '\uffff',
      'user:\uffff',
      'ü',
      'u\u0308',
      '😀',
      '%75ser:',
      '..',
      'a/b',
      '__proto__',
    ),
    fc.string({ unit: 'grapheme', maxLength: 6 }),
  )
  .filter((each) => each.isWellFormed());
const rights = fc.subarray([...RIGHTS]);

function principal(of: readonly Right[], prefixes: readonly string[] | null): Principal {
  return new Principal({ id: 'aaaaaaaa', name: 'x', rights: of, prefixes, expiresAt: null }, () => 0);
}

test('a key is covered exactly if its bytes begin with the bytes of one of the prefixes', () => {
  const prefixes = fc.option(
    fc.array(
      text.filter((each) => each !== ''),
      { minLength: 1, maxLength: 4 },
    ),
  );
  fc.assert(
    fc.property(rights, prefixes, text, fc.constantFrom(...RIGHTS), (of, own, key, right) => {
      const bytes = Buffer.from(key);
      const begins =
        own?.some((each) => bytes.subarray(0, Buffer.byteLength(each)).equals(Buffer.from(each))) ?? true;
      const expected = (of.includes(right) || of.includes('admin')) && begins;
      assert.equal(principal(of, own).covers(right, key), expected);
    }),
  );
});

test('whoever covers a prefix covers each key that begins with it', () => {
  fc.assert(
    fc.property(fc.array(text, { minLength: 1, maxLength: 3 }), text, text, (own, prefix, rest) => {
      const reader = principal(['read'], own);
      if (reader.covers('read', prefix)) assert.ok(reader.covers('read', prefix + rest));
    }),
  );
});

test('admin includes every right', () => {
  for (const right of RIGHTS) assert.ok(principal(['admin'], null).covers(right, 'k'));
});

test('a refusal names the right and says nothing of the key', () => {
  const reader = principal(['read'], ['user:']);
  for (const key of ['other', 'else']) {
    assert.throws(
      () => reader.mustCover('read', key),
      (error: unknown) =>
        error instanceof Problem &&
        error.code === 'FORBIDDEN' &&
        error.message === 'the token aaaaaaaa has the right read only for keys that begin with "user:"',
    );
  }
  assert.throws(() => reader.mustCover('write', 'user:1'), /has no right write/);
  assert.throws(() => reader.mustHave('metrics', 'replicate'), /has no right metrics/);
});
