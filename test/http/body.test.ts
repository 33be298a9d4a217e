import assert from 'node:assert/strict';
import { Readable } from 'node:stream';
import test from 'node:test';
import { setImmediate as nextTurn } from 'node:timers/promises';
import fc from 'fast-check';
import { OversizedBody, readBody as readBodyWithin } from '../../src/http/request/bodies/body.ts';
import { BodyBudget } from '../../src/http/request/bodies/body-budget.ts';
import { Problem } from '../../src/node/problem.ts';
import { anyCuts, cutAt } from '../support/arbitraries.ts';

const LIMIT = { maxBytes: 100, code: 'VALUE_TOO_LARGE', what: 'a value' } as const;

function readBody(source: Readable, declared: string | undefined, limit: typeof LIMIT): Promise<Buffer> {
  return readBodyWithin(
    source,
    declared,
    limit,
    new BodyBudget(
      () => Number.POSITIVE_INFINITY,
      () => 'client',
    ),
  );
}

function arriving(...sizes: readonly number[]): Readable {
  return Readable.from(
    sizes.map((size) => Buffer.alloc(size, 'x')),
    { objectMode: false },
  );
}

function isProblem(error: unknown, code: string, oversized = false): boolean {
  return error instanceof Problem && error.code === code && error instanceof OversizedBody === oversized;
}

for (const [name, sizes, declared] of [
  ['no bytes', [], '0'],
  ['no bytes, of no declared length', [], undefined],
  ['exactly the limit', [100], '100'],
  ['exactly the limit in pieces, of no declared length', [60, 39, 1], undefined],
] as const) {
  test(`a body of ${name} is read`, async () => {
    const total = sizes.reduce((sum: number, size) => sum + size, 0);
    assert.deepEqual(await readBody(arriving(...sizes), declared, LIMIT), Buffer.alloc(total, 'x'));
  });
}

for (const [name, sizes, declared] of [
  ['one byte more than the limit', [101], '101'],
  ['one byte more, in pieces, of no declared length', [100, 1], undefined],
  ['four times the limit', [100, 100, 100, 100], '400'],
  ['more than it declared', [101], '1'],
] as const) {
  test(`a body of ${name} is refused after it was read to its end: the connection stays usable`, async () => {
    const source = arriving(...sizes);
    await assert.rejects(readBody(source, declared, LIMIT), (error) => isProblem(error, 'VALUE_TOO_LARGE'));
    assert.ok(source.readableEnded);
  });
}

test('the connection is closed when a body goes on past four times the limit', async () => {
  const source = new Readable({ read() {} });
  const body = readBody(source, undefined, LIMIT);
  source.push(Buffer.alloc(400));
  source.push(Buffer.alloc(1));
  await assert.rejects(body, (error) => isProblem(error, 'VALUE_TOO_LARGE', true));
  assert.ok(source.isPaused());
});

test('a body that announces more than four times the limit is refused before a byte of it is read', async () => {
  const source = arriving(401);
  await assert.rejects(readBody(source, '401', LIMIT), (error) => isProblem(error, 'VALUE_TOO_LARGE', true));
  assert.equal(source.readableFlowing, null);
});

test('what arrives of a body whose request is answered already takes no memory', async () => {
  const budget = new BodyBudget(
    () => 100,
    () => 'client',
  );
  const source = new Readable({ read() {} });
  void readBodyWithin(source, '100', LIMIT, budget);
  source.push(Buffer.alloc(20));
  source.push(Buffer.alloc(20));
  await nextTurn();
  assert.equal(budget.bytes, 40);
  budget.end(source);
  source.push(Buffer.alloc(20));
  await nextTurn();
  assert.equal(budget.bytes, 0);
});

test('a connection that breaks in the middle is a bad request', async () => {
  const source = new Readable({ read() {} });
  const body = readBody(source, '100', LIMIT);
  source.push(Buffer.alloc(50));
  source.destroy(new Error('ECONNRESET'));
  await assert.rejects(body, (error) => isProblem(error, 'BAD_REQUEST'));
});

test('a body is the same in whatever pieces it arrives, and in a buffer of its own', async () => {
  await fc.assert(
    fc.asyncProperty(fc.uint8Array({ maxLength: 100 }), anyCuts, async (bytes, cuts) => {
      const sent = Buffer.from(bytes);
      const received = await readBody(
        Readable.from(cutAt(sent, cuts), { objectMode: false }),
        undefined,
        LIMIT,
      );
      sent.fill(0);
      assert.deepEqual(received, Buffer.from(bytes));
    }),
  );
});
