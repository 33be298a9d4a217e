/**
 * A page with many entries and many changes stays responsive: the client has no long task. Other programs on the machine
 * must not decide that, so it is the processor time of the page's main thread that counts.
 */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import test, { type TestContext } from 'node:test';
import type { Page } from 'playwright-core';
import type { ChildNode } from '../../src/cli/child-node.ts';
import { builtClient, launched, WITHOUT_BROWSER } from '../support/browser.ts';
import { Cluster, temporaryFolder } from '../support/cluster.ts';
import { staticFiles } from '../support/static-files.ts';

const ENTRIES = 100_000;
const CHANGES_A_SECOND = 10_000;
const SECONDS = 2;
const CHANGES_AT_ONCE = 1_000;
/** A task from which browsers call it long, in milliseconds. */
const LONG_MS = 50;
const SAMPLE_MS = 2;

interface Task {
  readonly phase: string;
  /** Wall-clock time in milliseconds. */
  readonly from: number;
  readonly ms: number;
}

/** Follows the processor time of the page's main thread. */
class ProcessorTime {
  readonly #samples: (readonly [at: number, spent: number])[] = [];
  readonly #pid: number;
  readonly #timer: NodeJS.Timeout;

  constructor(t: TestContext, pid: number) {
    this.#pid = pid;
    this.#sample();
    this.#timer = setInterval(() => this.#sample(), SAMPLE_MS);
    t.after(() => clearInterval(this.#timer));
  }

  /**
   * @returns processor time that the task has surely taken, in milliseconds: between the first and the last look at it. On a
   *   quiet machine that is all but some milliseconds.
   */
  of({ from, ms }: Task): number {
    const within = this.#samples.filter(([at]) => at >= from && at <= from + ms);
    return (within.at(-1)?.[1] ?? 0) - (within[0]?.[1] ?? 0);
  }

  #sample(): void {
    const now = performance.timeOrigin + performance.now();
    // The thread that a process begins with has its number; the first figure is nanoseconds.
    try {
      const text = readFileSync(`/proc/${this.#pid}/task/${this.#pid}/schedstat`, 'latin1');
      this.#samples.push([now, Number(text.split(' ')[0]) / 1e6]);
    } catch {
      // The page is gone.
    }
  }
}

async function opened(
  t: TestContext,
): Promise<{ readonly node: ChildNode; readonly page: Page; readonly pid: number }> {
  const folder = await temporaryFolder(t);
  await writeFile(`${folder}/page.html`, '<!doctype html><title>page</title>');
  const origin = await staticFiles(t, [
    ['/dist/', await builtClient(t)],
    ['/', folder],
  ]);
  const node = await (await Cluster.create(t)).start('node', '--allow-origin', origin);
  const browser = await launched(t);
  const page = await (await browser.newContext()).newPage();
  await page.goto(`${origin}/page.html`);
  const session = await browser.newBrowserCDPSession();
  const times = async (): Promise<Map<number, number>> => {
    const { processInfo } = await session.send('SystemInfo.getProcessInfo');
    // The browser draws its own window with such a process too.
    const isOwn = (id: number): boolean =>
      readFileSync(`/proc/${id}/cmdline`, 'latin1').includes('--top-chrome-webui');
    const renderers = processInfo.filter(({ type, id }) => type === 'renderer' && !isOwn(id));
    return new Map(renderers.map(({ id, cpuTime }) => [id, cpuTime]));
  };
  const before = await times();
  await page.evaluate('{ const until = performance.now() + 300; while (performance.now() < until); }');
  const spent = [...(await times())].map(([id, after]) => [after - (before.get(id) ?? 0), id] as const);
  const [busiest] = spent.sort(([left], [right]) => right - left);
  assert.ok(busiest !== undefined);
  return { node, page, pid: busiest[1] };
}

async function written(node: ChildNode, from: number, count: number, value: string): Promise<void> {
  const lines: string[] = [];
  for (let index = from; index < from + count; index += 1) {
    lines.push(JSON.stringify({ key: `key:${(index * 7) % ENTRIES}`, value: `${value}${index}` }));
  }
  await node.client.import(new Blob([`${lines.join('\n')}\n`]).stream());
}

/** Opens a stored mirror and a collection in the page, and reads the whole collection for each frame. */
async function watched(page: Page, node: ChildNode, phase: string): Promise<void> {
  await page.evaluate(`(async () => {
    const { indexedDbStorage, mirror } = await import('/dist/client/index.js');
    const { collection } = await import('/dist/client/collection/index.js');
    window.tasks = [];
    window.phase = ${JSON.stringify(phase)};
    new PerformanceObserver((list) => {
      for (const { startTime, duration } of list.getEntries()) {
        tasks.push({ phase, from: performance.timeOrigin + startTime, ms: duration });
      }
    }).observe({ entryTypes: ['longtask'] });
    window.copy = mirror({ url: ${JSON.stringify(node.url)}, storage: indexedDbStorage('copy') });
    window.all = collection(copy, { prefix: 'key:' });
    window.resets = 0;
    copy.on('reset', () => { window.resets += 1; });
    window.frames = 0;
    const frame = () => {
      if (all.snapshot().length > 0) window.frames += 1;
      requestAnimationFrame(frame);
    };
    requestAnimationFrame(frame);
    await copy.ready;
    window.phase += ', and after it';
  })()`);
}

test('a page with 100,000 entries and 10,000 changes a second has no long task', {
  skip: WITHOUT_BROWSER || (process.platform !== 'linux' && 'the system does not tell the time of a thread'),
}, async (t) => {
  const { node, page, pid } = await opened(t);
  const time = new ProcessorTime(t, pid);
  await written(node, 0, ENTRIES, 'v'.repeat(100));
  await watched(page, node, 'snapshot');
  const begun = performance.now();
  for (let index = 0; index < CHANGES_A_SECOND * SECONDS; index += CHANGES_AT_ONCE) {
    const early = (index / CHANGES_A_SECOND) * 1_000 - (performance.now() - begun);
    if (early > 0) await new Promise((resolve) => setTimeout(resolve, early));
    await written(node, index, CHANGES_AT_ONCE, 'w');
  }
  const { position } = await node.client.replication();
  await page.evaluate(`copy.waitFor(${JSON.stringify(position)})`);
  t.diagnostic(`${CHANGES_A_SECOND * SECONDS} changes in ${Math.round(performance.now() - begun)} ms`);
  await page.evaluate('copy.close()');
  const [tasks, size, frames] = (await page.evaluate('[tasks, all.size, frames]')) as [
    Task[],
    number,
    number,
  ];
  assert.equal(size, ENTRIES);
  await page.reload();
  await watched(page, node, 'reload');
  await page.evaluate(
    'new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve)))',
  );
  const [more, again, resets] = (await page.evaluate('[tasks, all.size, resets]')) as [
    Task[],
    number,
    number,
  ];
  assert.deepEqual([again, resets], [ENTRIES, 0]);
  const spent = [...tasks, ...more].map((task) => ({ ...task, spent: Math.round(time.of(task)) }));
  const [longest] = [...spent].sort((left, right) => right.spent - left.spent);
  t.diagnostic(
    `${frames} frames; ${spent.length} tasks that seemed long, the longest of ${longest?.spent} ms`,
  );
  assert.deepEqual(
    spent.filter(({ spent: ms }) => ms > LONG_MS),
    [],
  );
});
