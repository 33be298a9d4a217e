/** The room that the journal takes for absent replicas: given up in time, and dropped in steps. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import { JournalKeep } from '../../src/node/head/journal-keep.ts';
import { JournalRoom, LEAST_FREE_BYTES } from '../../src/node/head/journal-room.ts';
import { JournalTrim, TRIM_BYTES } from '../../src/node/head/journal-trim.ts';
import { StorageError } from '../../src/node/ports/failures.ts';
import type { Log, World } from '../../src/node/ports/world.ts';
import { type Offset, offset } from '../../src/replication/position.ts';

const MIB = 1024 * 1024;
const HEAD = 500 * MIB;
/** Timers from here on ring only when the test says so. */
const LONG_MS = 10_000;

/** A disk, a journal that keeps everything, and timers that the test lets ring. */
class Stage {
  free = Number.POSITIVE_INFINITY;
  reusable = 0;
  refuses = false;
  journalKeepBytes = 1_000 * MIB;
  readonly warnings: string[] = [];
  readonly steps: { upTo: number; maxRows: number; maxBytes: number }[] = [];
  readonly #timers = new Set<() => void>();
  readonly #longTimers = new Set<() => void>();
  /** Ends of the rows in the journal, of one MiB each. */
  rows = Array.from({ length: 400 }, (_, index) => (index + 1) * MIB);
  readonly keep: JournalKeep;
  readonly trim: JournalTrim;
  readonly room: JournalRoom;

  constructor() {
    const world = {
      monotonic: () => 0,
      soon: (callback: () => void) => void setImmediate(callback),
      after: (delayMs: number, callback: () => void) => {
        const timers = delayMs < LONG_MS ? this.#timers : this.#longTimers;
        timers.add(callback);
        return () => timers.delete(callback);
      },
    } as unknown as World;
    const log = { warn: (event: string) => void this.warnings.push(event) } as unknown as Log;
    const kept = (): number => this.journalKeepBytes;
    const settings = {
      get journalKeepBytes() {
        return kept();
      },
      journalKeepMs: null,
    };
    this.keep = new JournalKeep(settings, offset(0), 0);
    const neededFrom = (): number => 400 * MIB;
    this.trim = new JournalTrim({
      world,
      log,
      state: { trim: (upTo, maxRows, maxBytes) => this.#drop(upTo, maxRows, maxBytes) },
      unneededTo: () => Math.min(neededFrom(), this.keep.from(offset(HEAD), 0)),
      trimmed: () => this.keep.trimmed(this.start),
    });
    const reusable = (): number => this.reusable;
    this.room = new JournalRoom({
      world,
      log,
      settings,
      state: {
        get reusableBytes() {
          return reusable();
        },
      },
      freeBytes: () => Promise.resolve(this.free),
      keep: () => this.keep,
      neededFrom,
      head: () => HEAD,
      trim: () => this.trim.start(),
    });
  }

  get start(): Offset {
    return offset((this.rows[0] ?? HEAD) - MIB);
  }

  get timers(): number {
    return this.#timers.size;
  }

  /** Lets all timers ring until none is left, or so many times. */
  async ring(times: number): Promise<void> {
    for (let time = 0; time < times; time += 1) {
      const due = [...this.#timers];
      this.#timers.clear();
      for (const callback of due) callback();
      await turn();
      await turn();
    }
  }

  ringLong(): void {
    for (const callback of [...this.#longTimers]) callback();
  }

  get longTimers(): number {
    return this.#longTimers.size;
  }

  #drop(upTo: number, maxRows: number, maxBytes: number): boolean {
    if (this.refuses) throw new StorageError('the disk is full', true);
    this.steps.push({ upTo, maxRows, maxBytes });
    const count = Math.min(maxRows, Math.max(1, Math.floor(maxBytes / MIB)));
    const dropped = this.rows.slice(0, count).filter((end) => end <= upTo).length;
    this.rows = this.rows.slice(dropped);
    this.reusable += dropped * MIB;
    return dropped === count;
  }
}

test('with enough free room everything is kept, and the node looks again', async () => {
  const stage = new Stage();
  stage.free = LEAST_FREE_BYTES;
  stage.room.look();
  await stage.ring(5);
  assert.equal(stage.rows.length, 400);
  assert.equal(stage.timers, 1);
});

test('with too little free room the journal gives up only what is missing, before the disk is full', async () => {
  const stage = new Stage();
  stage.free = LEAST_FREE_BYTES - 10 * MIB;
  stage.room.committed(8 * MIB);
  await stage.ring(20);
  assert.deepEqual([stage.start, stage.rows.length], [10 * MIB, 390]);
  assert.deepEqual(stage.warnings, ['journal-not-kept']);
});

test('while the disk is full the trim is tried again, and nothing more is given up than one reserve', async () => {
  const stage = new Stage();
  stage.refuses = true;
  for (let failed = 0; failed < 50; failed += 1) stage.room.refused();
  await stage.ring(20);
  assert.equal(stage.rows.length, 400);
  assert.deepEqual(stage.warnings, ['journal-not-kept', 'trim-failed']);
  stage.refuses = false;
  await stage.ring(40);
  assert.equal(stage.start, LEAST_FREE_BYTES);
});

test('what is kept no more goes by timer, without a commit', async () => {
  const stage = new Stage();
  stage.room.look();
  await stage.ring(3);
  assert.equal(stage.rows.length, 400);
  stage.journalKeepBytes = 0;
  await stage.ring(150);
  assert.equal(stage.rows.length, 0);
  assert.equal(stage.timers, 0);
});

test('a step drops no more than so many bytes, and who waits for the end is told, also when the disk refuses', async () => {
  const stage = new Stage();
  stage.keep.giveUp(offset(100 * MIB));
  let isDone = false;
  const done = stage.trim.finish().then(() => {
    isDone = true;
  });
  await stage.ring(5);
  assert.equal(isDone, false);
  await stage.ring(40);
  await done;
  assert.equal(stage.start, 100 * MIB);
  assert.ok(stage.steps.every(({ maxBytes }) => maxBytes <= TRIM_BYTES));
  stage.refuses = true;
  stage.keep.giveUp(offset(200 * MIB));
  await stage.trim.finish();
  assert.equal(stage.start, 100 * MIB);
  assert.equal(stage.longTimers, 0);
  stage.trim.close();
  await stage.trim.finish();
});

test('who waits for the end of the trim does not wait forever', async () => {
  const stage = new Stage();
  stage.keep.giveUp(offset(400 * MIB));
  const done = stage.trim.finish();
  await stage.ring(3);
  stage.ringLong();
  await done;
  assert.ok(stage.start < 400 * MIB);
  await stage.ring(150);
  assert.equal(stage.rows.length, 0);
});
