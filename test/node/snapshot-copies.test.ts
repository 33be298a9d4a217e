/** Which copies of the keyspace file there are for downloads, how long, and what a new one may cost. */
import assert from 'node:assert/strict';
import test from 'node:test';
import type { StreamHead } from '../../src/node/head/stream-head.ts';
import type { SnapshotCopy, SnapshotFiles } from '../../src/node/ports/snapshot-files.ts';
import type { World } from '../../src/node/ports/world.ts';
import { SnapshotCopies } from '../../src/node/upkeep/copies/snapshot-copies.ts';
import { offset, type Position } from '../../src/replication/position.ts';
import { runId } from '../support/arbitraries.ts';
import { SILENT } from '../support/silent-log.ts';

const BYTES = 1_000;
const KEEP_MS = 60_000;
const FOREVER = new AbortController().signal;

/** Lets everything happen that waits for nothing but its turn. */
function settled(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

interface Copied {
  readonly position: Position;
  finish(): void;
  fail(error: Error): void;
  copied: number;
  stopped: boolean;
  removed: boolean;
  closed: boolean;
}

/** A head that the test moves, a clock, and a disk on which copies take until the test says so. */
class Stage {
  offset = 0;
  ms = 0;
  /** The wall clock, which nothing here may ask. */
  now = (): number => assert.fail('the wall clock was asked');
  free = Number.MAX_SAFE_INTEGER;
  /** What the frozen file holds. */
  held = 0;
  frozen = 0;
  length = BYTES;
  readonly copyings: Copied[] = [];
  readonly timers = new Set<{ readonly at: number; readonly callback: () => void }>();
  readonly settings = { snapshotKeepMs: KEEP_MS, snapshotBudgetBytes: 10 * BYTES, outputLimitBytes: 500 };
  readonly copies: SnapshotCopies;

  constructor() {
    const world = {
      now: () => this.now(),
      monotonic: () => this.ms,
      after: (delayMs: number, callback: () => void) => {
        const timer = { at: this.ms + delayMs, callback };
        this.timers.add(timer);
        return () => this.timers.delete(timer);
      },
    } as unknown as World;
    this.copies = new SnapshotCopies({
      world,
      log: SILENT,
      head: this.#head(),
      files: this.#files(),
      settings: this.settings,
    });
  }

  get position(): Position {
    return { runId: runId('a'), offset: offset(this.offset) };
  }

  #head(): StreamHead {
    const position = (): Position => this.position;
    const head = {
      get position() {
        return position();
      },
      backlog: { size: 0 },
      snapshotBytes: () => this.length,
      hashAt: (at: number) => BigInt(at),
      freeze: async () => {
        this.frozen += 1;
        return {
          position: this.position,
          length: this.length,
          heldBytes: () => this.held,
          release: () => {
            this.frozen -= 1;
          },
        };
      },
    };
    return head as unknown as StreamHead;
  }

  #files(): SnapshotFiles {
    return {
      freeBytes: async () => this.free,
      clear: async () => undefined,
      copy: ({ position, length }, hash) => {
        const { promise, resolve, reject } = Promise.withResolvers<SnapshotCopy | null>();
        const the: Copied = {
          position,
          copied: 0,
          stopped: false,
          removed: false,
          closed: false,
          fail: reject,
          finish: () =>
            resolve({
              position,
              length,
              sha256: `${position.offset}`.padStart(64, '0'),
              hash,
              read: async (at, into) => into.fill(at % 256),
              remove: async () => {
                the.removed = true;
              },
              close: async () => {
                the.closed = true;
              },
            }),
        };
        this.copyings.push(the);
        return {
          done: promise,
          copiedBytes: () => the.copied,
          stop: () => {
            the.stopped = true;
            resolve(null);
          },
        };
      },
    };
  }

  /** Lets time pass. */
  async pass(ms: number): Promise<void> {
    const end = this.ms + ms;
    for (;;) {
      const next = [...this.timers].sort((a, b) => a.at - b.at)[0];
      if (next === undefined || next.at > end) break;
      this.ms = next.at;
      this.timers.delete(next);
      next.callback();
      await settled();
    }
    this.ms = end;
  }

  ask(wanted: Position | null = null, gone = FOREVER): Promise<SnapshotCopy> {
    return this.copies.newest(wanted, gone);
  }

  /** @returns a copy of the present position, and what the disk knows of it */
  async made(): Promise<Copied> {
    const asked = this.ask();
    await settled();
    this.copyings.at(-1)?.finish();
    await asked;
    return this.copyings.at(-1) as Copied;
  }

  /** Makes copies of so many positions. */
  async many(count: number): Promise<void> {
    for (let each = 0; each < count; each += 1) {
      this.offset += 1;
      await this.made();
    }
  }

  has(the: Copied): boolean {
    try {
      this.copies.look(the.position, null);
      return true;
    } catch {
      return false;
    }
  }
}

test('all who ask while a copy is being made get that one, and later ones too until something is written', async () => {
  const the = new Stage();
  const first = the.ask();
  await settled();
  assert.equal(the.frozen, 1);
  the.offset = 5;
  const second = the.ask();
  await settled();
  the.copyings[0]?.finish();
  assert.equal(await first, await second);
  assert.equal(the.frozen, 0);
  the.offset = 0;
  assert.equal(await the.ask(), await first);
  assert.equal(the.copyings.length, 1);
  the.offset = 6;
  const third = await the.made();
  assert.equal(third.position.offset, 6);
  assert.deepEqual([the.copies.numbers.made, the.copies.numbers.copies], [2, 2]);
});

test('a copy that was begun before a wanted position is followed by another one', async () => {
  const the = new Stage();
  const early = the.ask();
  await settled();
  the.offset = 7;
  const late = the.ask(the.position);
  await settled();
  the.copyings[0]?.finish();
  assert.equal((await early).position.offset, 0);
  await settled();
  assert.equal(the.copyings.length, 2);
  the.copyings[1]?.finish();
  assert.equal((await late).position.offset, 7);
});

test('a copy goes when nobody has read it for the time that the setting says, on a clock that nobody can set', async () => {
  const the = new Stage();
  const made = await the.made();
  await the.pass(KEEP_MS - 1);
  assert.ok(the.has(made));
  await the.pass(KEEP_MS - 1);
  assert.ok(!made.removed);
  await the.pass(1_000);
  assert.deepEqual([made.removed, made.closed, the.has(made)], [true, true, false]);
  assert.deepEqual([the.copies.numbers.bytes, the.timers.size], [0, 0]);
  assert.throws(() => the.copies.open(made.position, null), { code: 'POSITION_LOST' });
});

test('a shorter time to keep counts within seconds', async () => {
  const the = new Stage();
  const made = await the.made();
  the.settings.snapshotKeepMs = 100;
  await the.pass(6_000);
  assert.ok(made.removed);
});

test('a copy that is read stays, and its time begins when the last reader has ended', async () => {
  const the = new Stage();
  const made = await the.made();
  const readers = [the.copies.open(made.position, null), the.copies.open(made.position, null)];
  await the.pass(3 * KEEP_MS);
  readers[0]?.close();
  readers[0]?.close();
  await the.pass(3 * KEEP_MS);
  assert.ok(!made.removed);
  readers[1]?.close();
  await the.pass(KEEP_MS - 1);
  assert.ok(!made.removed);
  await the.pass(6_000);
  assert.ok(made.removed);
});

test('other bytes of the same position are another snapshot', async () => {
  const the = new Stage();
  const { position } = await the.made();
  assert.equal(the.copies.look(position, '0'.repeat(64)).length, BYTES);
  assert.throws(() => the.copies.look(position, 'f'.repeat(64)), { code: 'POSITION_LOST' });
  assert.throws(() => the.copies.look({ ...position, runId: runId('b') }, null), { code: 'POSITION_LOST' });
});

test('a new copy takes the room of the one that was not used for longest, and never of one that is read', async () => {
  const the = new Stage();
  the.settings.snapshotBudgetBytes = 3 * BYTES;
  await the.many(3);
  const [first, second, third] = the.copyings as [Copied, Copied, Copied];
  const download = the.copies.open(first.position, null);
  the.copies.look(second.position, null);
  await the.many(1);
  assert.deepEqual([first.removed, second.removed, third.removed], [false, false, true]);
  assert.equal(the.copies.numbers.bytes, 3 * BYTES);
  download.close();
  the.settings.snapshotBudgetBytes = BYTES - 1;
  the.offset += 1;
  await assert.rejects(the.ask(), { code: 'DISK_FULL', message: /1000 bytes.*--snapshot-budget allows 999/ });
  assert.deepEqual([first.removed, second.removed], [false, false]);
});

test('when downloads fill the budget, a new copy is refused until one has ended', async () => {
  const the = new Stage();
  the.settings.snapshotBudgetBytes = 2 * BYTES;
  await the.many(2);
  const downloads = the.copyings.map(({ position }) => the.copies.open(position, null));
  the.offset += 1;
  await assert.rejects(the.ask(), { code: 'TOO_MANY_REQUESTS' });
  downloads[0]?.close();
  await the.made();
  assert.deepEqual(
    the.copyings.map(({ removed }) => removed),
    [true, false, false],
  );
});

test('a copy is made only if the disk has 1.1 times its room, for which unread copies go', async () => {
  const the = new Stage();
  await the.many(1);
  the.free = 1.1 * BYTES - 1;
  the.offset += 1;
  await assert.rejects(the.ask(), { code: 'DISK_FULL', message: /needs 1100 free bytes.*there are 1099/ });
  assert.ok(the.copyings[0]?.removed);
  the.free = 1.1 * BYTES;
  await the.many(1);
  assert.equal(the.copies.numbers.failed, 1);
});

test('a backup of a copy is made only if the disk has 1.1 times its room beside it', async () => {
  const the = new Stage();
  await the.many(2);
  const [unread, read] = the.copyings as [Copied, Copied];
  const download = the.copies.open(read.position, null);
  the.free = 1.1 * BYTES - 1;
  await assert.rejects(the.copies.roomForBackup(BYTES), {
    code: 'DISK_FULL',
    message: /a backup needs 1100/,
  });
  assert.deepEqual([unread.removed, read.removed], [true, false]);
  the.free = 1.1 * BYTES;
  await the.copies.roomForBackup(BYTES);
  download.close();
});

test('copies that nobody reads go when the disk is nearly full', async () => {
  const the = new Stage();
  await the.many(2);
  const [first, second] = the.copyings as [Copied, Copied];
  const download = the.copies.open(first.position, null);
  the.free = 1_000_000;
  await the.pass(6_000);
  assert.deepEqual([first.removed, second.removed], [false, true]);
  download.close();
  await the.pass(6_000);
  assert.ok(first.removed);
});

test('there are at most 16 copies, and at most 32 downloads', async () => {
  const the = new Stage();
  the.settings.snapshotBudgetBytes = 100 * BYTES;
  await the.many(20);
  assert.equal(the.copies.numbers.copies, 16);
  const { position } = the.copyings.at(-1) as Copied;
  const downloads = Array.from({ length: 32 }, () => the.copies.open(position, null));
  assert.throws(() => the.copies.open(position, null), { code: 'TOO_MANY_REQUESTS' });
  downloads[0]?.close();
  the.copies.open(position, null).close();
});

test('a download gets exactly its range, in parts, and nothing after its end', async () => {
  const the = new Stage();
  the.length = 1_000_000;
  the.settings.snapshotBudgetBytes = 2_000_000;
  const { position } = await the.made();
  const { bytes, close } = the.copies.open(position, null);
  let length = 0;
  for await (const part of bytes(100, 600_000)) length += part.length;
  assert.equal(length, 599_901);
  assert.equal(the.copies.numbers.sentBytes, 599_901);
  const cut = bytes(0, 999_999)[Symbol.asyncIterator]();
  assert.ok((await cut.next()).done !== true);
  close();
  assert.ok((await cut.next()).done);
});

test('a copy for which the WAL grows beyond its limit is given up, and the file is released', async () => {
  const the = new Stage();
  const asked = the.ask();
  await settled();
  the.held = 100_000;
  // Rejected before the pause ends.
  const refused = assert.rejects(asked, { code: 'TOO_MANY_REQUESTS', message: /writes came too fast/ });
  await the.pass(2_000);
  await refused;
  assert.deepEqual([the.copyings[0]?.stopped, the.frozen], [true, 0]);
  the.held = 0;
  await the.made();
});

test('a request waits for a copy for a while only, and the copy goes on', async () => {
  const the = new Stage();
  const asked = the.ask();
  const refused = assert.rejects(asked, { code: 'LOADING', message: /400 bytes so far/ });
  await settled();
  const [copying] = the.copyings as [Copied];
  copying.copied = 400;
  await the.pass(30_000);
  await refused;
  copying.finish();
  await settled();
  assert.equal((await the.ask()).position.offset, 0);
  assert.equal(the.copyings.length, 1);
});

test('a client that goes leaves no timer and ends no copy', async () => {
  const the = new Stage();
  const gone = new AbortController();
  const asked = the.ask(null, gone.signal);
  await settled();
  const before = the.timers.size;
  gone.abort();
  await assert.rejects(asked);
  assert.equal(the.timers.size, before - 1);
  the.copyings[0]?.finish();
  await settled();
  assert.equal(the.copies.numbers.copies, 1);
  const again = new AbortController();
  again.abort();
  the.offset = 9;
  await assert.rejects(the.ask(null, again.signal));
});

test('after a full resync no copy of its position or a later one is handed out, because it may have had wrong data', async () => {
  const the = new Stage();
  await the.many(3);
  const [first, second, third] = the.copyings as [Copied, Copied, Copied];
  const download = the.copies.open(third.position, null);
  the.offset = 2;
  the.copies.replaced();
  await settled();
  assert.deepEqual([the.has(first), the.has(second), the.has(third)], [true, false, false]);
  assert.deepEqual([second.closed, third.closed], [true, false]);
  await the.made();
  assert.equal(the.copyings.length, 4);
  download.close();
  assert.ok(third.closed);
});

test('a copy that was complete just before a full resync replaced the file is not handed out', async () => {
  const the = new Stage();
  const asked = the.ask();
  await settled();
  const [copying] = the.copyings as [Copied];
  copying.finish();
  the.copies.replaced();
  await assert.rejects(asked, { code: 'LOADING', message: /a full resync replaced/ });
  assert.deepEqual([copying.removed, copying.closed, the.frozen], [true, true, 0]);
  const next = await the.made();
  assert.notEqual(next, copying);
});

test('a copy that fails is nobody else’s, and the next one is made', async () => {
  const the = new Stage();
  const asked = [the.ask(), the.ask()];
  await settled();
  the.copyings[0]?.fail(new Error('the disk fails'));
  for (const each of asked) await assert.rejects(each, /the disk fails/);
  assert.equal(the.frozen, 0);
  await the.made();
  assert.deepEqual([the.copies.numbers.made, the.copies.numbers.failed], [1, 1]);
});

test('a node that stops stops the copy, and removes all when it has stopped', async () => {
  const the = new Stage();
  await the.many(1);
  the.offset += 1;
  const asked = the.ask();
  await settled();
  the.copies.stop();
  await assert.rejects(asked, { code: 'SHUTTING_DOWN' });
  await assert.rejects(the.ask(), { code: 'SHUTTING_DOWN' });
  await the.copies.clear();
  assert.deepEqual([the.copyings[0]?.removed, the.copies.numbers.copies, the.timers.size], [true, 0, 0]);
});
