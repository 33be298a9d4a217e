/** The text of a scrape, from numbers that the test makes. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { Exposition } from '../../src/metrics/exposition.ts';
import { METRICS } from '../../src/metrics/list.ts';
import type { Metric } from '../../src/metrics/metric.ts';
import { Scrapes } from '../../src/metrics/scrapes.ts';
import { freeBytes, type Sources } from '../../src/metrics/snapshot.ts';
import { Durations, Tally } from '../../src/node/ports/counts.ts';
import { RequestCounts } from '../../src/web/record/request-counts.ts';
import { parsed, valueIn } from '../support/exposition.ts';
import { NO_PROMTOOL, promtool } from '../support/promtool.ts';

/** Sources with nothing in them: for metrics that do not read them. */
const NOTHING = {
  cluster: null,
  data: '.',
  node: { numbers: {} },
  state: { numbers: {} },
  loopLag: { last: {} },
} as unknown as Sources;

/** A master that nobody has asked for anything. */
const EMPTY = {
  version: '0.0.0',
  cluster: null,
  data: '.',
  requests: new RequestCounts(),
  limited: new Tally(),
  authFailures: new Tally(),
  tls: null,
  loopLag: { last: { p99Ms: 0, maxMs: 0 } },
  state: {
    numbers: {
      journal: { commits: 0, syncs: new Durations([1]), isFull: false },
      checkpoints: new Durations([1]),
    },
  },
  node: {
    numbers: {
      role: 'master',
      runId: 'a'.repeat(40),
      isWritable: true,
      isReady: true,
      offset: 0,
      writes: {
        counts: { written: new Tally(), refused: new Tally() },
        turns: new Durations([1]),
        waitingBytes: 0,
      },
      backlog: { firstOffset: 1, length: 0, size: 16_384, seconds: 0 },
      window: { bytes: 0, seconds: 0 },
      replicas: [],
      sessions: { resyncs: new Tally(), snapshots: new Durations([1]), snapshotBytes: 0 },
      longestOutageSeconds: 0,
      upstream: null,
      lag: { seconds: 0, bytes: 0 },
      links: { failures: new Tally(), resyncs: new Tally() },
      feed: { traffic: { dropped: new Tally(), sentBytes: 0 }, followers: new Map(), lagBytes: 0 },
      snapshots: { copies: 0, bytes: 0, downloads: 0, sentBytes: 0, made: 0, failed: 0, copiedBytes: null },
      backups: null,
      archive: null,
      storage: { fileBytes: 0, overlayEntries: 0, overlayBytes: 0, unappliedBytes: 0, journalBytes: 0 },
    },
  },
} as unknown as Sources;

test('the free room of the disk is told in whole MiB', async () => {
  const free = await freeBytes('.');
  assert.equal((free as number) % (1024 * 1024), 0);
  assert.equal(await freeBytes('./no such folder'), null);
});

test('a master whose last commit failed because the disk was full is not writable', async () => {
  for (const [isFull, isWritable, shown] of [
    [false, true, 1],
    [true, true, 0],
    [false, false, 0],
  ] as const) {
    const { node, state } = EMPTY;
    const sources = {
      ...EMPTY,
      state: { numbers: { ...state.numbers, journal: { ...state.numbers.journal, isFull } } },
      node: { numbers: { ...node.numbers, isWritable } },
    } as unknown as Sources;
    const text = parsed(await textOf(new Exposition(sources, METRICS)));
    assert.equal(valueIn(text, 'psyncd_writable'), shown);
    assert.equal(valueIn(text, 'psyncd_disk_full'), isFull ? 1 : 0);
  }
});

test('a histogram counts a duration at the bound in the range that ends there, and all of them in +Inf', async () => {
  const took = new Durations([0.5, 1]);
  for (const seconds of [0.25, 0.5, 0.75, 1, 4]) took.add(seconds);
  const metric: Metric = {
    name: 'psyncd_test_seconds',
    help: 'For the test',
    kind: 'histogram',
    labels: ['of'],
    read: () => [{ labels: { of: 'this' }, took }],
  };
  const text = parsed(await textOf(new Exposition(NOTHING, [metric])));
  const bucket = (le: string): number | undefined =>
    valueIn(text, 'psyncd_test_seconds_bucket', { of: 'this', le });
  assert.deepEqual(['0.5', '1', '+Inf'].map(bucket), [2, 4, 5]);
  assert.equal(valueIn(text, 'psyncd_test_seconds_sum', { of: 'this' }), 6.5);
  assert.equal(valueIn(text, 'psyncd_test_seconds_count', { of: 'this' }), 5);
});

test('a scrape shows the values of its moment, and no series that has gone', async () => {
  const replicas = new Map([['a', 1]]);
  const sums = new Tally<'x'>();
  const metrics: readonly Metric[] = [
    { name: 'psyncd_replica_thing', help: 'g', kind: 'gauge', labels: ['replica'], read: () => of(replicas) },
    { name: 'psyncd_sum_total', help: 's', kind: 'counter', labels: ['of'], read: () => ofTally(sums) },
    {
      name: 'psyncd_single',
      help: 'n',
      kind: 'gauge',
      read: () => (replicas.size === 0 ? [] : [{ value: 7 }]),
    },
  ];
  const exposition = new Exposition({ ...NOTHING, cluster: 'shop' }, metrics);
  sums.add('x', 2);
  const first = parsed(await textOf(exposition));
  assert.equal(valueIn(first, 'psyncd_replica_thing', { replica: 'a', cluster: 'shop' }), 1);
  assert.equal(valueIn(first, 'psyncd_sum_total', { of: 'x', cluster: 'shop' }), 2);
  assert.equal(valueIn(first, 'psyncd_single', { cluster: 'shop' }), 7);
  replicas.clear();
  sums.add('x');
  const second = parsed(await textOf(exposition));
  assert.equal(valueIn(second, 'psyncd_replica_thing'), undefined);
  assert.equal(valueIn(second, 'psyncd_sum_total'), 3);
  assert.equal(valueIn(second, 'psyncd_single'), undefined);
});

test('text of peers in a label cannot end the label or the line', { skip: NO_PROMTOOL }, async () => {
  const hostile = 'a"} 1\npsyncd_fake 2\\';
  const metric: Metric = {
    name: 'psyncd_replica_thing',
    help: 'g',
    kind: 'gauge',
    labels: ['replica'],
    read: () => [{ labels: { replica: hostile }, value: 1 }],
  };
  const text = await textOf(new Exposition(NOTHING, [metric]));
  assert.deepEqual(promtool(['check', 'metrics'], text), { status: 0, output: '' });
  assert.doesNotMatch(text, /^psyncd_fake/m);
});

test('each scrape after a pause gets a text of that moment; of very many, some share one that is at most a second old', async () => {
  let now = 0;
  let reads = 0;
  const requests = new RequestCounts();
  Object.defineProperty(requests, 'counts', {
    get: () => {
      // It takes a millisecond, by the clock of the test.
      now += 1;
      reads += 1;
      return [];
    },
  });
  const scrapes = new Scrapes({ ...EMPTY, requests }, () => now);
  const together = await Promise.all([scrapes.scrape(), scrapes.scrape()]);
  assert.equal(together[0], together[1]);
  assert.equal(reads, 1);
  for (let count = 0; count < 40; count += 1) assert.notEqual(await scrapes.scrape(), together[0]);
  assert.equal(reads, 41);
  // A hundred scrapes a second, for ten seconds.
  for (let count = 0; count < 1_000; count += 1) {
    now += 10;
    await scrapes.scrape();
  }
  const share = (reads - 41) / now;
  assert.ok(share < 0.005, `the texts took ${share} of the time`);
  assert.ok(reads > 60);
  now += 2_000;
  const last = await scrapes.scrape();
  assert.notEqual(await scrapes.scrape(), last);
});

test('each metric has a name of its own that says its unit, and a sentence', () => {
  assert.equal(new Set(METRICS.map(({ name }) => name)).size, METRICS.length);
  for (const { name, help, kind } of METRICS) {
    assert.match(name, /^(?:psyncd|process|nodejs)_[a-z_]+$/);
    assert.equal(kind === 'counter', name.endsWith('_total'), name);
    if (kind === 'histogram') assert.match(name, /_seconds$/);
    assert.match(help, /^[A-Z1].*[^.]$/, name);
  }
});

function textOf(exposition: Exposition): Promise<string> {
  return exposition.text(exposition.snapshot('ws://a:1', null));
}

function of(values: ReadonlyMap<string, number>) {
  return [...values].map(([replica, value]) => ({ labels: { replica }, value }));
}

function ofTally(tally: Tally) {
  return tally.counts.map(([name, value]) => ({ labels: { of: name }, value }));
}
