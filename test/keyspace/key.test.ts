import assert from 'node:assert/strict';
import test from 'node:test';
import fc from 'fast-check';
import { compareKeys, keyBehind, keyProblem } from '../../src/keyspace/key.ts';
import { text } from '../support/arbitraries.ts';

for (const [name, key, problem] of [
  ['no characters', '', 'empty'],
  ['one character', 'k', null],
  ['1,024 bytes', 'k'.repeat(1_024), null],
  ['1,025 bytes', 'k'.repeat(1_025), 'too-long'],
  ['512 characters of two bytes', 'é'.repeat(512), null],
  ['513 characters of two bytes', 'é'.repeat(513), 'too-long'],
  ['256 characters of four bytes', '\u{1f600}'.repeat(256), null],
  ['256 characters of four bytes and one more byte', `${'\u{1f600}'.repeat(256)}k`, 'too-long'],
  ['slashes, spaces, control characters and NUL', '/ a\r\n\t\u0000', null],
  ['a replacement character of its own', '\ufffd', null],
  ['the first half of a surrogate pair', 'k\ud83d', 'not-unicode'],
  ['the second half of a surrogate pair', '\ude00k', 'not-unicode'],
  ['both halves in the wrong order', '\ude00\ud83d', 'not-unicode'],
] as const) {
  test(`a key of ${name} is ${problem ?? 'fine'}`, () => {
    assert.equal(keyProblem(key), problem);
  });
}

for (const [left, right] of [
  ['', '\u0000'],
  ['a', 'a\u0000'],
  ['Z', 'a'],
  ['a', 'é'],
  ['\ud7ff', '\ue000'],
  ['\ufffd', '\u{10000}'],
  ['\uffff', '\u{1f600}'],
  ['\u{1f600}', '\u{1f601}'],
  ['\u{1f600}', '\u{1f600}a'],
  ['\u{1f600}', '\u{10ffff}'],
] as const) {
  test(`${JSON.stringify(left)} comes before ${JSON.stringify(right)}`, () => {
    assert.ok(compareKeys(left, right) < 0);
    assert.ok(compareKeys(right, left) > 0);
  });
}

test('keys are ordered like their UTF-8 bytes', () => {
  const tail = text(0, 3);
  fc.assert(
    fc.property(text(0, 4), tail, tail, (shared, left, right) => {
      const [a, b] = [shared + left, shared + right];
      assert.equal(Math.sign(compareKeys(a, b)), Buffer.compare(Buffer.from(a), Buffer.from(b)));
      assert.equal(compareKeys(a, a), 0);
    }),
    { numRuns: 1_000 },
  );
});

for (const [prefix, behind] of [
  ['', null],
  ['a', 'b'],
  ['user:', 'user;'],
  ['a\u007f', 'a\u0080'],
  ['\ud7ff', '\ue000'],
  ['\uffff', '\u{10000}'],
  ['a\u{10ffff}\u{10ffff}', 'b'],
  ['\u{10ffff}', null],
] as const) {
  test(`the keys with the prefix ${JSON.stringify(prefix)} end before ${JSON.stringify(behind)}`, () => {
    assert.equal(keyBehind(prefix), behind);
  });
}

test('a key that is not before a prefix has the prefix exactly if it is before the end of its range', () => {
  const anyPrefix = fc.tuple(text(0, 2), fc.constantFrom('', '\ud7ff', '\uffff', '\u{10ffff}'));
  fc.assert(
    fc.property(anyPrefix, text(0, 3), fc.boolean(), (parts, tail, isInside) => {
      const prefix = parts.join('');
      const key = isInside ? prefix + tail : tail;
      const behind = keyBehind(prefix);
      const isBefore = behind === null || compareKeys(key, behind) < 0;
      assert.equal(compareKeys(key, prefix) >= 0 && isBefore, key.startsWith(prefix));
    }),
    { numRuns: 1_000 },
  );
});
