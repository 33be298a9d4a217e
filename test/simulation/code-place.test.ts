/** Planted bugs are found by name: each has its place, and changes that do not matter leave it there. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { fileURLToPath } from 'node:url';
import { findCode, sourcesOf } from './code-place.ts';
import { MUTATIONS } from './mutations.ts';

const SRC = fileURLToPath(new URL('../../src', import.meta.url));
const SOURCE = `
export class Count {
  #value = 0;

  /** Adds twice. */
  async add(
    first: number,
    last: number,
  ): Promise<void> {
    // The first one.
    this.#value += first;
    if (last > 0) {
      this.#value += last;
    }
  }

  get double(): number {
    return twice(this.#value, 'two  times');
  }
}

function twice(value: number, why: string): number {
  if (why === '') return value;
  return value + value;
}
`;

function found(name: string, code: string, source = SOURCE): string {
  const { text, from, to } = findCode(new Map([['count.ts', source]]), name, code);
  return text.slice(from, to);
}

test('each planted bug has exactly one place in the source', async () => {
  const sources = await sourcesOf(SRC);
  for (const { in: name, find } of MUTATIONS) findCode(sources, name, find);
});

test('code is found in functions, methods and accessors', () => {
  assert.equal(found('twice', 'value + value'), 'value + value');
  assert.equal(found('Count.add', 'this.#value += last'), 'this.#value += last');
  assert.equal(found('Count.double', "twice(this.#value, 'two times')"), "twice(this.#value, 'two  times')");
});

test('code is found however it is laid out, with comments or without', () => {
  const laidOut = SOURCE.replace('value + value', 'value + // once more\n    /* and */ value');
  assert.match(found('twice', 'return value + value;', laidOut), /^return value \+[\s\S]*value;$/);
  const moved = SOURCE.replace('    // The first one.\n    this.#value += first;\n', '').replace(
    '      this.#value += last;\n    }\n',
    '      this.#value += last;\n    }\n    this.#value += first;\n',
  );
  assert.equal(found('Count.add', 'this.#value += first', moved), 'this.#value += first');
});

test('code that is not there, is there twice, or is in another function is an error', () => {
  assert.throws(() => found('twice', 'value - value'), /twice has 0 times value - value/);
  assert.throws(() => found('Count.add', 'this.#value +='), /has 2 times/);
  assert.throws(() => found('Count.add', 'value + value'), /has 0 times/);
  assert.throws(() => found('Count.subtract', 'value'), /has 0 times/);
  assert.throws(() => found('Account.add', 'this.#value += first'), /has 0 times/);
});
