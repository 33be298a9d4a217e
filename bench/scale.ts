/**
 * Measures how a node behaves with a million entries: its resident memory during an import and an export, the time for a page of
 * 1,000 entries, and the longest wait of other requests while it deletes 100,000 entries or while all entries expire at once.
 *
 * `node bench/scale.ts [ENTRIES]` prints each figure when it has it. Figures of different machines cannot be compared; run it with
 * different numbers of entries, and see which figures grow with the number.
 */
import { readFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { setTimeout as wait } from 'node:timers/promises';
import { ChildNode } from '../src/cli/child-node.ts';
import { until } from '../src/cli/until.ts';
import { BUILT_MAIN, buildProgram } from '../tools/program.ts';

const entries = Number(process.argv[2] ?? 1_000_000);
const folder = await mkdtemp(join(tmpdir(), 'psyncd-scale-'));
await buildProgram();
const node = await ChildNode.start(['--port', '0', '--data', folder], {}, BUILT_MAIN);

/** @returns the node's resident memory in MiB, now and at its highest, as text */
function memory(): string {
  const status = readFileSync(`/proc/${node.process.pid}/status`, 'utf8');
  const [now, most] = ['VmRSS', 'VmHWM'].map((name) => {
    const [, kib = '0'] = new RegExp(`${name}:\\s+(\\d+)`).exec(status) ?? [];
    return Math.round(Number(kib) / 1024);
  });
  return `resident ${now} MiB, at most ${most} MiB`;
}

function keyAt(index: number): string {
  return `k/${String(index).padStart(9, '0')}`;
}

function* lines(from: number, to: number, more: string): Generator<string> {
  for (let start = from; start < to; start += 1_000) {
    let group = '';
    for (let index = start; index < Math.min(start + 1_000, to); index += 1) {
      // 7919 is prime, so each key occurs once, in an order that looks random.
      group += `{"key":"${keyAt((index * 7_919) % entries)}","value":"${'x'.repeat(100)}"${more}}\n`;
    }
    yield group;
  }
}

async function load(from: number, to: number, more = ''): Promise<void> {
  await node.client.import(
    Readable.toWeb(Readable.from(lines(from, to, more)).map((text) => Buffer.from(text))) as never,
  );
}

/** Repeats a request while `work` runs. @returns the longest time of a request, in milliseconds */
async function longestDuring(request: () => Promise<unknown>, work: () => Promise<unknown>): Promise<number> {
  let going = true;
  let longest = 0;
  const asking = (async () => {
    while (going) {
      const startedAt = performance.now();
      await request();
      longest = Math.max(longest, performance.now() - startedAt);
    }
  })();
  await work();
  going = false;
  await asking;
  return Math.round(longest);
}

const health = async (): Promise<unknown> => (await fetch(`${node.url}/healthz`)).json();
let written = 0;
const write = async (): Promise<unknown> => {
  written += 1;
  return node.client.set(`other/${written % 1_000}`, 'v');
};
const say = (text: string): void => void process.stdout.write(`${text}\n`);

try {
  say(`empty: ${memory()}`);
  for (let part = 1; part <= 4; part += 1) {
    await load(((part - 1) * entries) / 4, (part * entries) / 4);
    say(`${(part * entries) / 4} entries imported: ${memory()}`);
  }
  let exported = 0;
  const body = (await fetch(`${node.url}/v1/export`)).body as unknown as AsyncIterable<Uint8Array>;
  for await (const chunk of body) exported += chunk.length;
  say(`${exported} bytes exported: ${memory()}`);

  const times: number[] = [];
  for (let page = 0; page < 200; page += 1) {
    const startedAt = performance.now();
    const after = keyAt(Math.floor(Math.random() * entries));
    await (await fetch(`${node.url}/v1/keys?limit=1000&after=${encodeURIComponent(after)}`)).arrayBuffer();
    times.push(performance.now() - startedAt);
  }
  times.sort((left, right) => left - right);
  say(
    `a page of 1,000 among them: median ${times[100]?.toFixed(1)} ms, longest ${times[199]?.toFixed(1)} ms`,
  );

  const prefix = keyAt(0).slice(0, -5);
  const deleting = await longestDuring(health, () =>
    fetch(`${node.url}/v1/keys?prefix=${prefix}`, { method: 'DELETE' }),
  );
  say(`100,000 deleted by prefix: another request waited ${deleting} ms at most; ${memory()}`);

  const at = Date.now() + 20_000;
  await load(0, entries, `,"expiresAt":${at}`);
  await wait(Math.max(0, at - Date.now()));
  const startedAt = performance.now();
  const expiring = await longestDuring(write, () =>
    until('all have been deleted', async () => (await node.client.digest()).keys <= 1_000, 120_000),
  );
  const seconds = ((performance.now() - startedAt) / 1000).toFixed(1);
  say(
    `${entries} expired at once, deleted in ${seconds} s: a write waited ${expiring} ms at most; ${memory()}`,
  );
} finally {
  await node.stop();
  await rm(folder, { recursive: true, force: true });
}
