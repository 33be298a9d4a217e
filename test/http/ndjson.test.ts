import assert from 'node:assert/strict';
import { Readable } from 'node:stream';
import test from 'node:test';
import fc from 'fast-check';
import { BodyBudget } from '../../src/http/request/bodies/body-budget.ts';
import {
  isBlank,
  lineGroups as lineGroupsWithin,
  MAX_LINE_BYTES,
  parseLine,
} from '../../src/http/request/bodies/ndjson.ts';
import { Problem } from '../../src/node/problem.ts';
import { anyCuts, cutAt, everySplit } from '../support/arbitraries.ts';

function lineGroups(source: Readable): ReturnType<typeof lineGroupsWithin> {
  return lineGroupsWithin(
    source,
    new BodyBudget(
      () => Number.POSITIVE_INFINITY,
      () => 'client',
    ),
  );
}

async function linesOf(pieces: readonly Buffer[]): Promise<string[]> {
  const lines: string[] = [];
  for await (const group of lineGroups(arriving(pieces)))
    lines.push(...group.map((line) => line.toString('latin1')));
  return lines;
}

function arriving(pieces: readonly Buffer[]): Readable {
  return Readable.from(pieces, { objectMode: false });
}

function isBadLine(error: unknown): boolean {
  return error instanceof Problem && error.code === 'BAD_LINE';
}

for (const [text, lines] of [
  ['', []],
  ['a', ['a']],
  ['a\n', ['a']],
  ['a\nbc', ['a', 'bc']],
  ['\n', ['']],
  ['a\n\n\nb\n', ['a', '', '', 'b']],
] as const) {
  test(`${JSON.stringify(text)} has ${lines.length} lines, wherever it is cut`, async () => {
    for (const pieces of everySplit(Buffer.from(text))) assert.deepEqual(await linesOf(pieces), lines);
  });
}

test('lines do not depend on the pieces in which they arrive', async () => {
  const anyLine = fc.string({ unit: fc.constantFrom('a', '\r', '"', '\xff'), maxLength: 5 });
  await fc.assert(
    fc.asyncProperty(fc.array(anyLine), fc.boolean(), anyCuts, async (lines, ended, cuts) => {
      const text = lines.join('\n') + (ended ? '\n' : '');
      const expected = text.split('\n');
      if (expected.at(-1) === '') expected.pop();
      assert.deepEqual(await linesOf(cutAt(Buffer.from(text, 'latin1'), cuts)), expected);
    }),
  );
});

test('lines that end with CR LF parse like lines that end with LF', async () => {
  const lines = await linesOf([Buffer.from('{"key":"a"}\r\n{"key":"b"}\r\n')]);
  assert.deepEqual(
    lines.map((line) => parseLine(Buffer.from(line))),
    [{ key: 'a' }, { key: 'b' }],
  );
});

/** So many bytes before the line end, arriving in pieces of 1 MiB, or all at once; then another line. */
const LONG: readonly (readonly [length: number, pieceBytes: number, isRead: boolean])[] = [
  [MAX_LINE_BYTES, 2 ** 20, true],
  [MAX_LINE_BYTES, 2 ** 26, true],
  [MAX_LINE_BYTES + 1, 2 ** 20, false],
  [MAX_LINE_BYTES + 1, 2 ** 26, false],
];

for (const [length, pieceBytes, isRead] of LONG) {
  test(`a line of ${length} bytes in pieces of ${pieceBytes} is ${isRead ? 'read' : 'refused'}`, async () => {
    const bytes = Buffer.concat([Buffer.alloc(length, 'x'), Buffer.from('\nnext\n')]);
    const pieces = Array.from({ length: Math.ceil(bytes.length / pieceBytes) }, (_, index) => {
      return bytes.subarray(index * pieceBytes, (index + 1) * pieceBytes);
    });
    const lengths = linesOf(pieces).then((lines) => lines.map((line) => line.length));
    if (isRead) assert.deepEqual(await lengths, [length, 4]);
    else await assert.rejects(lengths, isBadLine);
  });
}

test('a line beyond the limit is refused before its end arrives', async () => {
  const source = new Readable({ read() {} });
  const first = lineGroups(source).next();
  source.push(Buffer.alloc(MAX_LINE_BYTES));
  source.push(Buffer.from('x'));
  await assert.rejects(first, isBadLine);
  assert.ok(!source.destroyed);
});

test('the lines before a line beyond the limit are handed out', async () => {
  const groups = lineGroups(
    arriving([Buffer.concat([Buffer.from('a\n'), Buffer.alloc(MAX_LINE_BYTES + 1)])]),
  );
  assert.deepEqual((await groups.next()).value, [Buffer.from('a')]);
  await assert.rejects(groups.next(), isBadLine);
});

test('a reader that stops early leaves the stream open', async () => {
  const source = new Readable({ read() {} });
  source.push('a\nb\n');
  for await (const lines of lineGroups(source)) {
    assert.deepEqual(lines.map(String), ['a', 'b']);
    break;
  }
  assert.ok(!source.destroyed);
});

for (const [what, line] of [
  ['nothing', ''],
  ['no JSON', '{"key":'],
  ['two objects', '{} {}'],
  ['an array', '[]'],
  ['a string', '"key"'],
  ['null', 'null'],
  ['no UTF-8', Buffer.from('{"key":"\xff"}', 'latin1')],
  ['two objects of which one has a bracket too many', '{}}'],
  ['an object with a member that stands twice', '{"key":"a","key":"b"}'],
  ['nested 5,000 levels', `{"value":${'['.repeat(5_000)}${']'.repeat(5_000)}}`],
] as const) {
  test(`a line that is ${what} is a bad line`, () => {
    assert.throws(() => parseLine(Buffer.from(line as string)), isBadLine);
  });
}

test('a line may begin with a byte order mark', () => {
  assert.deepEqual(parseLine(Buffer.from('\ufeff{"key":"a"}')), { key: 'a' });
  assert.throws(() => parseLine(Buffer.from('\ufeff\ufeff{"key":"a"}')), isBadLine);
});

for (const text of ['', '\r', ' \t\r', '\v\f', '\ufeff', '\ufeff \r']) {
  test(`${JSON.stringify(text)} is a blank line`, () => assert.ok(isBlank(Buffer.from(text))));
}

for (const text of ['{}', ' x', '\ufeff\ufeff', '\u00a0', '\0']) {
  test(`${JSON.stringify(text)} is not a blank line`, () => assert.ok(!isBlank(Buffer.from(text))));
}
