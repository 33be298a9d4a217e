/** The priority of background work: a thread that lowers its own leaves those of the other threads as they are. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { getPriority } from 'node:os';
import test from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const MODULE = new URL('../../src/runtime/background.ts', import.meta.url).href;
/** Prints the priorities of the main thread and of a thread, after one of them has lowered its own. */
const program = (who: 'thread' | 'process'): string => `
  const { getPriority } = require('node:os');
  const { Worker } = require('node:worker_threads');
  const lower = (name) => 'await import(${JSON.stringify(MODULE)}).then((module) => module.' + name + '());';
  const inThread = ${who === 'thread' ? "lower('lowerThreadPriority')" : "''"};
  const code = '(async () => {' + inThread
    + 'require("node:worker_threads").parentPort.postMessage(require("node:os").getPriority(0)) })()';
  const start = () => new Worker(code, { eval: true }).once('message', (priority) =>
    console.log(JSON.stringify({ main: getPriority(0), thread: priority })));
  if (${who === 'process'}) import(${JSON.stringify(MODULE)}).then((module) => { module.lowerProcessPriority(); start(); });
  else start();`;

async function priorities(who: 'thread' | 'process'): Promise<{ main: number; thread: number }> {
  const { stdout } = await promisify(execFile)(process.execPath, ['-e', program(who)], {
    cwd: fileURLToPath(new URL('../..', import.meta.url)),
  });
  return JSON.parse(stdout) as { main: number; thread: number };
}

const skip = process.platform !== 'linux' && 'only Linux has priorities of threads';
const NICEST = 19;

test('a thread in the background has a lower priority, and the event loop keeps its own', {
  skip,
}, async () => {
  assert.deepEqual(await priorities('thread'), {
    main: getPriority(),
    thread: Math.min(getPriority() + 5, NICEST),
  });
});

test('a process in the background gives its lower priority to the threads that it starts', {
  skip,
}, async () => {
  const lower = Math.min(getPriority() + 10, NICEST);
  assert.deepEqual(await priorities('process'), { main: lower, thread: lower });
});
