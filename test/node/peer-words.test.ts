/** What is shown of the words of other nodes. */
import assert from 'node:assert/strict';
import test from 'node:test';
import fc from 'fast-check';
import { newToken } from '../../src/access/token.ts';
import { MAX_SHOWN_LENGTH, showable } from '../../src/node/ports/peer-words.ts';

test('harmless words are shown as they are, harmful characters as spaces, and long words in part', () => {
  for (const [words, expected] of [
    ['-ERR "ümläut" 😀 is no key', '-ERR "ümläut" 😀 is no key'],
    ['a\u001b[31mb\r\nc\u0000', 'a [31mb  c '],
    ['\u0085\u009b\u200b\u202e\u2028\u2029\ufeff', ' '.repeat(7)],
    ['x'.repeat(10_000), 'x'.repeat(MAX_SHOWN_LENGTH)],
    // Not the half of a character at the end.
    [`${'x'.repeat(MAX_SHOWN_LENGTH - 1)}😀`, `${'x'.repeat(MAX_SHOWN_LENGTH - 1)} `],
    ['\ud800', ' '],
  ] as const) {
    assert.equal(showable(words), expected);
  }
});

test('whatever a peer says, it is one short line that a terminal does not obey', () => {
  fc.assert(
    fc.property(fc.array(fc.nat({ max: 0xffff }), { maxLength: 60 }), fc.nat({ max: 60 }), (units, most) => {
      const shown = showable(String.fromCharCode(...units), [], most);
      assert.ok(shown.length <= most);
      assert.ok(shown.isWellFormed());
      assert.doesNotMatch(shown, /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/u);
    }),
  );
});

test('a token is hidden before the words are cut, so that no part of it is left', () => {
  const other = 'a-token~of+another/service';
  for (const token of [newToken().text, other]) {
    for (let before = MAX_SHOWN_LENGTH - 60; before < MAX_SHOWN_LENGTH; before += 1) {
      const shown = showable(`${'-'.repeat(before)} ${token}`, [other]);
      assert.ok(!shown.includes(token.slice(0, 10)), shown);
    }
  }
});
