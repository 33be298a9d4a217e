/** What is shown of the words of other nodes. */
import assert from 'node:assert/strict';
import test from 'node:test';
import fc from 'fast-check';
import { newToken } from '../../src/access/token.ts';
import { holdsOne, MAX_LOOKED_AT, MAX_SHOWN_LENGTH, showable } from '../../src/node/ports/peer-words.ts';

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

/** Characters that become spaces, and others that nobody sees or that look like nothing. */
const between = fc.constantFrom(
  ...[
    '\u0000',
    '\u0001',
    '\n',
    '\u001b',
    '\u007f',
    '\u009b',
    '\u00ad',
    '\u00a0',
    '\u200b',
    '\u200d',
    '\u202e',
    '\u2028',
  ],
  ...[
    '\u2029',
    '\u2060',
    '\ufeff',
    '\ufe0f',
    '\u3164',
    '\u034f',
    '\ud800',
    '\udfff',
    '\u{e0041}',
    '\u{e0001}',
  ],
);

test('a token does not appear in what is shown, whatever a peer puts between its characters', () => {
  const signed = `eyJ${Buffer.from('"alg":"EdDSA"}').toString('base64url')}.eyJzdWIiOiJtZSJ9.c2lnbmF0dXJl`;
  const tokens = [newToken().text, signed, 'a-token~of+another/service=='];
  const put = fc.array(fc.tuple(fc.nat({ max: 80 }), between), { minLength: 1, maxLength: 90 });
  fc.assert(
    fc.property(
      fc.constantFrom(...tokens),
      put,
      fc.constantFrom('', 'x ', '你好', 'a\u200b'),
      fc.boolean(),
      (token, added, before, inCapitals) => {
        const units = [...(inCapitals && token !== signed ? token.toUpperCase() : token)];
        for (const [at, character] of added) units.splice(at % (units.length + 1), 0, character);
        const words = `${before}${units.join('')} is wrong`;
        assert.ok(holdsOne(words, [token]), JSON.stringify(words));
        // Those of psyncd and signed ones are known by their form.
        for (const known of token === tokens[2] ? [tokens] : [tokens, []]) {
          const shown = showable(words, known);
          const dense = shown.replace(/[^\x21-\x7e]/g, '');
          assert.equal(dense, `${before.replace(/[^\x21-\x7e]/g, '')}[token]iswrong`, JSON.stringify(words));
        }
      },
    ),
  );
});

test('the beginning of long words decides what is shown, and a token that is cut there is hidden', () => {
  const { text } = newToken();
  const foreign = 'z'.repeat(8 * 1024);
  for (const token of [text, foreign]) {
    const words = `${token}${'\n'.repeat(MAX_LOOKED_AT - token.length - 30)}${text.repeat(100_000)}`;
    const shown = showable(words, [token]);
    assert.match(shown, /^\[token\] *$/);
    assert.ok(shown.length <= MAX_SHOWN_LENGTH);
  }
});

test('what stands beside a token is shown, and words of other alphabets are too', () => {
  const { text } = newToken();
  for (const [words, expected] of [
    [`ungültig: ${text}, länger`, 'ungültig: [token], länger'],
    [`令牌${text}无效`, '令牌[token]无效'],
    [`line\n${text}\nnext line`, 'line [token] next line'],
    ['the keyAlgorithmName', 'the keyAlgorithmName'],
  ] as const) {
    assert.equal(showable(words, [text]), expected);
  }
});
