/** A person who sends text of a wrong form reads a sentence, not a regular expression. */
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import test from 'node:test';
import { toProblem } from '../../src/http/problem.ts';
import { PATTERNS_IN_WORDS, RUN_ID_PATTERN } from '../../src/http/schemas/common/patterns.ts';

test('a request with text of the wrong form is refused in words, without a regular expression', async () => {
  const patterns: unknown[] = [];
  for (const part of ['body', 'querystring']) {
    const source = await readFile(new URL(`../../src/http/generated/${part}.ts`, import.meta.url), 'utf8');
    for (const [, text = ''] of source.matchAll(/"pattern":("(?:[^"\\]|\\.)*")/g))
      patterns.push(JSON.parse(text));
  }
  assert.ok(patterns.length > 0);
  for (const pattern of patterns) assert.ok(PATTERNS_IN_WORDS.has(pattern), String(pattern));
});

/** For each keyword of JSON Schema that the validators check: an example of its parameters, and the sentence for it. */
const SENTENCES: { readonly [keyword: string]: readonly [params: object, sentence: string] } = {
  additionalProperties: [{ additionalProperty: 'extra' }, 'unknown member "extra"'],
  enum: [{ allowedValues: ['a', 'b'] }, '"name" has to be one of a, b'],
  exclusiveMinimum: [{ limit: 0 }, '"name" has to be more than 0'],
  maxItems: [{ limit: 10 }, '"name" may have at most 10 elements'],
  maxLength: [{ limit: 10 }, '"name" may have at most 10 characters'],
  maxProperties: [{ limit: 10 }, '"name" may have at most 10 members'],
  maximum: [{ limit: 10 }, '"name" may be at most 10'],
  minItems: [{ limit: 1 }, '"name" has to have at least 1 element'],
  minLength: [{ limit: 1 }, '"name" has to have at least 1 character'],
  minProperties: [{ limit: 1 }, '"name" has to have at least 1 member'],
  minimum: [{ limit: 1 }, '"name" has to be at least 1'],
  pattern: [{ pattern: RUN_ID_PATTERN }, '"name" has to be a run ID: 40 characters of 0-9 and a-f'],
  required: [{ missingProperty: 'url' }, '"name" lacks the member "url"'],
  type: [{ type: ['integer', 'string'] }, '"name" has to be a whole number or a string'],
};

test('a request that breaks any rule of a schema is refused with a sentence in plain English', async () => {
  const keywords = new Set<string>();
  for (const part of ['body', 'querystring']) {
    const source = await readFile(new URL(`../../src/http/generated/${part}.ts`, import.meta.url), 'utf8');
    for (const [, keyword = ''] of source.matchAll(/\bkeyword:"(\w+)"/g)) keywords.add(keyword);
  }
  assert.deepEqual([...keywords].sort(), Object.keys(SENTENCES).sort());
  for (const [keyword, [params, sentence]] of Object.entries(SENTENCES)) {
    const validation = [{ keyword, params, instancePath: '/name', schemaPath: '' }];
    const problem = toProblem(Object.assign(new Error(`must pass "${keyword}"`), { validation }));
    assert.equal(problem?.message, sentence);
    assert.equal(problem.code, 'BAD_REQUEST');
  }
});
