/** A person who sends text of a wrong form reads a sentence, not a regular expression. */
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import test from 'node:test';
import { PATTERNS_IN_WORDS } from '../../src/http/patterns.ts';

test('every form that text in a request has to have is told in words', async () => {
  const patterns: unknown[] = [];
  for (const part of ['body', 'querystring']) {
    const source = await readFile(new URL(`../../src/http/generated/${part}.ts`, import.meta.url), 'utf8');
    for (const [, text = ''] of source.matchAll(/"pattern":("(?:[^"\\]|\\.)*")/g))
      patterns.push(JSON.parse(text));
  }
  assert.ok(patterns.length > 0);
  for (const pattern of patterns) assert.ok(PATTERNS_IN_WORDS.has(pattern), String(pattern));
});
