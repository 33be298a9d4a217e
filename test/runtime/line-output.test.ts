/** The lines of a log: a file that does not keep up loses some, and no more than that. */
import assert from 'node:assert/strict';
import { openSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import test, { type TestContext } from 'node:test';
import { LineOutput, MAX_WAITING_BYTES } from '../../src/runtime/line-output.ts';
import { temporaryFolder } from '../support/cluster.ts';

async function file(t: TestContext, name = 'log'): Promise<{ path: string; descriptor: number }> {
  const path = join(await temporaryFolder(t), name);
  return { path, descriptor: openSync(path, 'a') };
}

test('what does not fit is lost in whole lines and counted, and the rest is written in order', async (t) => {
  const { path, descriptor } = await file(t);
  const output = new LineOutput(descriptor);
  const count = 3_000;
  // Together three times what may wait.
  const line = (index: number): string => `${String(index).padEnd(MAX_WAITING_BYTES / 1_000, '.')}\n`;
  for (let index = 0; index < count; index += 1) output.write(line(index));
  const { lost } = output;
  assert.ok(lost > count / 2 && lost < count, String(lost));
  await output.idle();
  output.write(line(count));
  await output.idle();
  const written = readFileSync(path, 'utf8')
    .split('\n')
    .slice(0, -1)
    .map((text) => Number.parseInt(text, 10));
  assert.equal(written.length, count - lost + 1);
  assert.deepEqual(written, [...Array(count - lost).keys(), count]);
  assert.equal(output.lost, lost);
});

test('a write that fails loses its lines and is told, and later lines are tried again', async (t) => {
  const failures: (string | undefined)[] = [];
  const output = new LineOutput(openSync('/dev/full', 'a'), ({ code }) => failures.push(code));
  output.write('one\n');
  await output.idle();
  assert.deepEqual([output.lost, failures], [1, ['ENOSPC']]);
  const { path, descriptor } = await file(t);
  output.replace(descriptor);
  output.write('two\n');
  await output.idle();
  assert.equal(readFileSync(path, 'utf8'), 'two\n');
});

test('lines go on in the file that takes the place of another, and none is lost or doubled', async (t) => {
  const [first, second] = [await file(t, 'first'), await file(t, 'second')];
  const output = new LineOutput(first.descriptor);
  for (let index = 0; index < 100; index += 1) {
    output.write(`${index}\n`);
    if (index === 50) output.replace(second.descriptor);
  }
  await output.idle();
  const text = readFileSync(first.path, 'utf8') + readFileSync(second.path, 'utf8');
  assert.equal(text, [...Array(100).keys()].map((index) => `${index}\n`).join(''));
  assert.ok(readFileSync(second.path, 'utf8').endsWith('99\n'));
});
