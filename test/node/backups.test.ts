/** When the schedule makes a backup, when it does not, and what it does after a failure. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { parseArchived, type SegmentName } from '../../src/archive/names.ts';
import { archiveNeeds } from '../../src/archive/retention/archive-needs.ts';
import { until } from '../../src/cli/until.ts';
import type { StreamHead } from '../../src/node/head/stream-head.ts';
import { type BackupTarget, TargetError, type TargetObject } from '../../src/node/ports/backup-target.ts';
import type { BackupFiles, SnapshotCopy } from '../../src/node/ports/snapshot-files.ts';
import type { Log, World } from '../../src/node/ports/world.ts';
import { Problem } from '../../src/node/problem.ts';
import { scheduledName } from '../../src/node/upkeep/backup-names.ts';
import { type BackupPlan, Backups } from '../../src/node/upkeep/backups.ts';
import type { SnapshotCopies } from '../../src/node/upkeep/copies/snapshot-copies.ts';
import type { Ancestor, History } from '../../src/replication/history.ts';
import { offset, type Position } from '../../src/replication/position.ts';
import { storageFailure } from '../../src/store/storage-failure.ts';
import { runId } from '../support/arbitraries.ts';
import { madeSegment } from '../support/memory-archive.ts';

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;
const RUN = runId('a');
const NOW = Date.UTC(2026, 10, 29);
const FOLDER = `shop/${RUN}`;

/** Lets everything happen that waits for nothing but its turn. */
async function settled(): Promise<void> {
  for (let turn = 0; turn < 20; turn += 1) await new Promise((resolve) => setImmediate(resolve));
}

/** A node and a target that the test moves, and two clocks. */
class Stage {
  offset = 100;
  ms = 0;
  wall = NOW;
  role: 'master' | 'replica' = 'master';
  lineage: readonly Ancestor[] = [];
  isCurrent = true;
  /** What the next puts throw. */
  fault: Error | null = null;
  /** What `put` waits for. */
  slow: Promise<void> | null = null;
  /** By how much the clock of the target is ahead. */
  targetAheadMs = 0;
  puts = 0;
  made = 0;
  removed = 0;
  readonly objects = new Map<string, TargetObject>();
  readonly cleaned: number[] = [];
  /** Names that are listed, and gone when somebody wants them. */
  readonly deletedByOthers = new Set<string>();
  /** Names of what is no backup. */
  readonly letters = new Set<string>();
  readonly warnings: string[] = [];
  readonly errors: (readonly [string, unknown])[] = [];
  readonly infos: (readonly [string, unknown])[] = [];
  /** What the errors in the log say. */
  readonly texts: unknown[] = [];
  readonly backups: Backups;
  readonly #segments = new Map<string, Buffer>();
  readonly #timers = new Set<{ readonly at: number; readonly callback: () => void }>();

  /** @param aheadMs by how much the wall clock is wrong */
  constructor(plan: Partial<BackupPlan> = {}, aheadMs = 0) {
    this.wall += aheadMs;
    const world = {
      now: () => this.wall,
      monotonic: () => this.ms,
      random: () => 0,
      after: (delayMs: number, callback: () => void) => {
        const timer = { at: this.ms + delayMs, callback };
        this.#timers.add(timer);
        return () => this.#timers.delete(timer);
      },
    } as unknown as World;
    const log: Log = {
      debug: () => undefined,
      info: (event, fields) => this.infos.push([event, fields]),
      warn: (event) => this.warnings.push(event),
      error: (event, fields) => {
        this.errors.push([event, fields?.code]);
        this.texts.push(fields?.error);
      },
    };
    this.backups = new Backups({
      world,
      log,
      head: this.#head(),
      copies: this.#copies(),
      plan: {
        target: this.#target(),
        files: this.#files(),
        cluster: 'shop',
        everyMs: HOUR,
        archiveNeeds,
        keep: null,
        role: 'any',
        ...plan,
      },
      standing: () => ({ role: this.role, isCurrent: this.isCurrent }),
    });
    this.backups.start();
  }

  get position(): Position {
    return { runId: RUN, offset: offset(this.offset) };
  }

  get names(): string[] {
    return [...this.objects.keys()].sort();
  }

  /** Lets both clocks run, and what is due happen. */
  async pass(ms: number): Promise<void> {
    const end = this.ms + ms;
    for (;;) {
      await settled();
      const next = [...this.#timers].filter(({ at }) => at <= end).sort((one, other) => one.at - other.at)[0];
      if (next === undefined) break;
      this.#timers.delete(next);
      this.wall += Math.max(0, next.at - this.ms);
      this.ms = Math.max(this.ms, next.at);
      next.callback();
    }
    this.wall += end - this.ms;
    this.ms = end;
  }

  /** A backup that somebody else has put there. */
  put(at: number, time: number, run = RUN): string {
    const name = scheduledName('shop', { runId: run, offset: offset(at) }, time);
    this.objects.set(name, { name, size: 4_096, modified: time });
    return name;
  }

  /** A segment that somebody has put there. */
  putSegment(after: number, end: number, time: number, run = RUN): string {
    const name = `shop/${run}/${after + 1}-${end}.resp.zst`;
    this.objects.set(name, { name, size: 4_096, modified: time });
    return name;
  }

  /** Backups of the last days, as by a clock that runs. */
  putOfDays(days: number): void {
    for (let count = 1; count < 2 * days; count += 1)
      this.put(50 + count, this.wall - (days * DAY - count * (DAY / 2)));
  }

  #head(): StreamHead {
    const offsetNow = (): number => this.offset;
    const historyNow = (): History => ({ runId: RUN, lineage: this.lineage });
    return {
      get history() {
        return historyNow();
      },
      get offset() {
        return offset(offsetNow());
      },
    } as unknown as StreamHead;
  }

  #copies(): SnapshotCopies {
    return {
      numbers: { copiedBytes: null },
      newest: async () =>
        ({ position: this.position, length: 10, sha256: 'x', hash: null }) as unknown as SnapshotCopy,
      open: () => ({ close: () => undefined }),
      roomForBackup: async () => undefined,
    } as unknown as SnapshotCopies;
  }

  #files(): BackupFiles {
    return {
      make: async () => {
        this.made += 1;
        return {
          path: '/x',
          length: 12,
          keys: 1,
          remove: async () => {
            this.removed += 1;
          },
        };
      },
      lengthIn: (begin) => (String(begin) === 'backup' ? 4_096 : null),
    };
  }

  async #segment(name: string): Promise<Buffer> {
    const found = parseArchived(name) as SegmentName;
    // B is an ancestor, and has none.
    const lineage = found.runId === RUN ? this.lineage : [];
    const bytes = this.#segments.get(name) ?? (await madeSegment(found, { runId: found.runId, lineage }));
    this.#segments.set(name, bytes);
    return bytes;
  }

  #target(): BackupTarget {
    const { objects, cleaned } = this;
    const segment = (name: string): Promise<Buffer> => this.#segment(name);
    return {
      shown: 'the target',
      put: async (name) => {
        this.puts += 1;
        await this.slow;
        if (this.fault !== null) throw this.fault;
        objects.set(name, { name, size: 4_096, modified: this.wall + this.targetAheadMs });
      },
      get: () => assert.fail('nobody gets a backup'),
      begin: async (name, length) => {
        if (this.deletedByOthers.has(name)) throw new TargetError('NOT_FOUND', 'it is gone');
        if (name.endsWith('.zst')) return (await this.#segment(name)).subarray(0, length);
        return Buffer.from(this.letters.has(name) ? 'letter' : 'backup');
      },
      async *list(folder) {
        for (const object of [...objects.values()]) {
          if (!object.name.startsWith(`${folder}/`)) continue;
          const isSegment = object.name.endsWith('.zst');
          yield isSegment ? { ...object, size: (await segment(object.name)).length } : object;
        }
      },
      find: () => assert.fail('nobody looks for one object'),
      delete: async (name) => {
        objects.delete(name);
      },
      clean: async (before) => cleaned.push(before),
    };
  }
}

test('a backup is made soon after the start, and then in each interval in which something was written', async () => {
  const stage = new Stage();
  await stage.pass(10_000);
  assert.deepEqual(stage.names, [`${FOLDER}/100-20261129T000000Z.db`]);
  stage.offset = 200;
  await stage.pass(HOUR + 1_000);
  assert.deepEqual(stage.names.at(-1), `${FOLDER}/200-20261129T010000Z.db`);
  await stage.pass(5 * HOUR);
  assert.equal(stage.names.length, 2);
  assert.deepEqual([stage.made, stage.removed], [2, 2]);
});

test('when nothing was written, the time of the last success moves on without a backup', async () => {
  const stage = new Stage();
  await stage.pass(10_000);
  const { lastSuccessAt, last } = stage.backups.status;
  await stage.pass(HOUR + 1_000);
  const later = stage.backups.status;
  assert.equal((later.lastSuccessAt ?? 0) - (lastSuccessAt ?? 0), HOUR);
  assert.deepEqual([later.last, stage.puts], [last, 1]);
});

test('a node that starts often, or shares its target, makes no backup while there is a young one', async () => {
  const stage = new Stage();
  stage.put(90, stage.wall - HOUR / 2);
  await stage.pass(10_000);
  assert.equal(stage.puts, 0);
  assert.equal(stage.backups.status.lastSuccessAt, Date.UTC(2026, 10, 29) - HOUR / 2);
  await stage.pass(HOUR / 2);
  assert.equal(stage.puts, 1);
  stage.offset = 200;
  stage.put(200, stage.wall);
  await stage.pass(2 * HOUR);
  assert.equal(stage.puts, 1);
});

test('a backup that was cut is none: another one is made, and it stands for no whole one', async () => {
  const stage = new Stage({ keep: [{ ageMs: DAY, everyMs: HOUR }] });
  const cut = (name: string): string => {
    stage.objects.set(name, { name, size: 2_048, modified: stage.wall - 2 * HOUR });
    return name;
  };
  const whole = stage.put(80, stage.wall - 2 * HOUR);
  const later = cut(stage.put(90, stage.wall - 2 * HOUR + MINUTE));
  const newest = cut(stage.put(100, stage.wall - MINUTE));
  await stage.pass(10_000);
  assert.deepEqual([stage.puts, stage.warnings], [1, ['backup-not-counted']]);
  for (const name of [whole, later, newest]) assert.ok(stage.objects.has(name), name);
  await stage.pass(30 * HOUR);
  for (const name of [later, newest]) assert.ok(!stage.objects.has(name), name);
});

test('what is past a master is no backup of it, and neither is a file that is none; both are told once', async () => {
  const stage = new Stage();
  const empty = stage.put(80, stage.wall);
  stage.objects.set(empty, { name: empty, size: 0, modified: stage.wall });
  stage.letters.add(stage.put(100, stage.wall - MINUTE));
  stage.put(3_890, stage.wall);
  await stage.pass(10_000);
  assert.deepEqual([stage.puts, stage.warnings], [1, ['backup-not-counted']]);
  stage.offset = 200;
  await stage.pass(3 * HOUR);
  assert.deepEqual([stage.puts, stage.warnings], [2, ['backup-not-counted']]);
});

test('a backup that is gone from the target, as of a disk that is not mounted any more, is told once, and in the status', async () => {
  const stage = new Stage();
  await stage.pass(10_000);
  const [name] = stage.names;
  stage.objects.clear();
  stage.fault = new TargetError('TARGET_FULL', 'full');
  await stage.pass(HOUR + 1_000);
  assert.deepEqual(stage.warnings, ['backup-gone']);
  const { gone } = stage.backups.status;
  assert.deepEqual(gone, { name, at: NOW + HOUR });
  stage.fault = null;
  stage.offset = 200;
  await stage.pass(5 * HOUR);
  assert.deepEqual([stage.warnings, stage.backups.status.gone], [['backup-gone'], gone]);
});

test('a backup in whose place there is a newer one may have been deleted by the rules of another node', async () => {
  const stage = new Stage();
  await stage.pass(10_000);
  stage.objects.clear();
  stage.offset = 200;
  stage.put(150, stage.wall);
  await stage.pass(2 * HOUR);
  assert.deepEqual([stage.warnings, stage.backups.status.gone], [[], null]);
});

test('a young backup that is past a replica is one of its master', async () => {
  const stage = new Stage();
  stage.role = 'replica';
  stage.put(300, stage.wall);
  await stage.pass(10_000);
  assert.equal(stage.puts, 0);
  await stage.pass(2 * HOUR);
  assert.equal(stage.puts, 1);
});

test('backups of another history or another cluster do not count', async () => {
  const stage = new Stage();
  stage.put(500, stage.wall, runId('b'));
  stage.objects.set('other/x', { name: `other/${RUN}/500-20261129T000000Z.db`, size: 1, modified: 0 });
  await stage.pass(10_000);
  assert.equal(stage.puts, 1);
});

test('only the role that was named makes backups, and a replica only while it has its master', async () => {
  const stage = new Stage({ role: 'replica' });
  await stage.pass(HOUR);
  assert.deepEqual([stage.puts, stage.backups.isOn], [0, false]);
  stage.role = 'replica';
  stage.isCurrent = false;
  await stage.pass(HOUR);
  assert.deepEqual([stage.puts, stage.backups.status.lastSuccessAt], [0, null]);
  stage.isCurrent = true;
  await stage.pass(10_000);
  assert.equal(stage.puts, 1);
});

test('the status says at once what prevents backups, and the log once that the master is missing for an interval', async () => {
  const stage = new Stage({ role: 'replica' });
  await stage.pass(3 * HOUR);
  assert.deepEqual([stage.backups.status.waitsFor, stage.warnings], ['role', []]);
  stage.role = 'replica';
  stage.isCurrent = false;
  assert.equal(stage.backups.status.waitsFor, 'master');
  await stage.pass(HOUR);
  assert.deepEqual(stage.warnings, []);
  await stage.pass(3 * HOUR);
  assert.deepEqual(stage.warnings, ['backup-waits']);
  stage.isCurrent = true;
  assert.equal(stage.backups.status.waitsFor, null);
  await stage.pass(HOUR);
  stage.isCurrent = false;
  await stage.pass(3 * HOUR);
  assert.deepEqual([stage.puts, stage.warnings], [1, ['backup-waits', 'backup-waits']]);
});

test('a failure is logged once for each code, counted, and followed by tries after growing pauses', async () => {
  const stage = new Stage();
  stage.fault = new TargetError('TARGET_BUSY', 'the target is busy');
  await stage.pass(HOUR);
  const tries = stage.puts;
  assert.ok(tries >= 8 && tries <= 16, String(tries));
  assert.deepEqual(stage.errors, [['backup-failed', 'TARGET_BUSY']]);
  assert.equal(stage.backups.status.failures, tries);
  assert.equal(stage.backups.status.failing?.code, 'TARGET_BUSY');
  stage.fault = new TargetError('NO_ACCESS', 'the keys are wrong');
  await stage.pass(HOUR);
  assert.deepEqual(stage.errors[1], ['backup-failed', 'NO_ACCESS']);
  stage.fault = null;
  await stage.pass(HOUR);
  assert.deepEqual([stage.objects.size, stage.backups.status.failing], [1, null]);
  stage.offset = 200;
  stage.fault = new Problem('DISK_FULL', 'no room');
  await stage.pass(2 * HOUR);
  assert.deepEqual(stage.errors.slice(2), [['backup-failed', 'DISK_FULL']]);
  assert.equal(stage.made, stage.removed);
});

test('the log says why the disk has refused a backup', async () => {
  const stage = new Stage();
  stage.fault = storageFailure(Object.assign(new Error('/data/x.db is odd'), { code: 'SQLITE_ERROR' }));
  await stage.pass(HOUR);
  assert.deepEqual(stage.errors, [['backup-failed', 'STORAGE_FAILED']]);
  assert.deepEqual(stage.texts, ['SQLITE_ERROR: /data/x.db is odd']);
});

test('the status says since when backups fail, and the log when they work again', async () => {
  const stage = new Stage();
  stage.fault = new TargetError('TARGET_BUSY', 'the target is busy');
  await stage.pass(HOUR);
  stage.fault = new TargetError('NO_ACCESS', 'the keys are wrong');
  await stage.pass(HOUR);
  const { failing, failures } = stage.backups.status;
  assert.ok(failing !== null);
  assert.deepEqual([failing.since, failing.code], [NOW, 'NO_ACCESS']);
  assert.ok(failing.at > NOW + HOUR);
  stage.fault = null;
  stage.offset = 200;
  await stage.pass(3 * HOUR);
  const told = stage.infos.filter(([event]) => event === 'backup-works-again');
  assert.deepEqual(told, [['backup-works-again', { target: 'the target', failures }]]);
});

test('one backup is made at a time, however slow the target is, and it is given up in the end', async () => {
  const stage = new Stage();
  stage.slow = new Promise(() => undefined);
  await stage.pass(11 * HOUR);
  assert.deepEqual([stage.puts, stage.backups.status.running, stage.removed], [1, true, 0]);
  await stage.pass(2 * HOUR);
  assert.deepEqual(stage.errors, [['backup-failed', 'TARGET_UNREACHABLE']]);
  assert.equal(stage.removed, 1);
});

test('while a call of the target still hangs, no other one is begun', async () => {
  const stage = new Stage();
  const { promise, resolve } = Promise.withResolvers<void>();
  stage.slow = promise;
  await stage.pass(13 * HOUR);
  await stage.pass(2 * DAY);
  assert.equal(stage.puts, 1);
  assert.deepEqual(stage.errors, [['backup-failed', 'TARGET_UNREACHABLE']]);
  stage.slow = null;
  stage.offset = 200;
  resolve();
  await stage.pass(HOUR);
  assert.deepEqual([stage.puts, stage.backups.status.failing], [2, null]);
});

test('a stop ends the backup at once, and does not wait for the target', async () => {
  const stage = new Stage();
  stage.slow = new Promise(() => undefined);
  await stage.pass(10_000);
  stage.backups.stop();
  await stage.backups.ended();
  assert.deepEqual([stage.removed, stage.backups.status.running, stage.errors], [1, false, []]);
  await stage.pass(DAY);
  assert.equal(stage.puts, 1);
});

test('a machine that slept makes the backup that it missed', async () => {
  const stage = new Stage();
  await stage.pass(10_000);
  stage.offset = 200;
  stage.wall += 8 * HOUR;
  await stage.pass(61_000);
  assert.equal(stage.puts, 2);
});

test('a wall clock that is set back delays no backup', async () => {
  const stage = new Stage();
  await stage.pass(10_000);
  stage.offset = 200;
  stage.wall -= 400 * DAY;
  await stage.pass(HOUR + 1_000);
  assert.equal(stage.puts, 2);
});

test('old backups of its own history are deleted, and those of others stay', async () => {
  const stage = new Stage({ keep: [{ ageMs: DAY, everyMs: HOUR }] });
  stage.putOfDays(3);
  const old = stage.put(50, stage.wall - 3 * DAY);
  const foreign = stage.put(50, stage.wall - 3 * DAY, runId('b'));
  await stage.pass(10_000);
  assert.ok(!stage.objects.has(old));
  assert.ok(stage.objects.has(foreign));
  assert.deepEqual(stage.cleaned, [Date.UTC(2026, 10, 28)]);
});

test('of an ancestor only backups of what both share are deleted, and none of a state that the node never had', async () => {
  const stage = new Stage({ keep: [{ ageMs: DAY, everyMs: HOUR }] });
  stage.lineage = [{ runId: runId('b'), validTo: offset(60), reason: 'promoted', at: 0 }];
  stage.putOfDays(3);
  const shared = stage.put(59, stage.wall - 3 * DAY, runId('b'));
  stage.put(60, stage.wall - 3 * DAY, runId('b'));
  const diverged = stage.put(61, stage.wall - 3 * DAY, runId('b'));
  const beyond = stage.put(101, stage.wall - 3 * DAY);
  await stage.pass(10_000);
  assert.ok(!stage.objects.has(shared));
  assert.ok(stage.objects.has(diverged));
  assert.ok(stage.objects.has(beyond));
});

test('a full target or disk gets room by what the rules no longer keep, while there is a backup of the last day', async () => {
  for (const fault of [new TargetError('TARGET_FULL', 'full'), new Problem('DISK_FULL', 'no room')]) {
    const stage = new Stage({ keep: [{ ageMs: 3 * DAY, everyMs: HOUR }] });
    stage.putOfDays(6);
    const old = stage.put(50, stage.wall - 4 * DAY);
    const newest = stage.put(90, stage.wall - 13 * HOUR);
    stage.fault = fault;
    await stage.pass(10_000);
    assert.deepEqual([stage.puts > 0, stage.backups.status.failing?.code], [true, fault.code]);
    assert.deepEqual(
      [old, newest].map((name) => stage.objects.has(name)),
      [false, true],
    );
    const kept = stage.objects.size;
    await stage.pass(20 * DAY);
    assert.equal(stage.objects.size, kept, 'without new backups the old ones stay');
    assert.equal(stage.errors.length, 1);
  }
});

test('a failure that is not about room deletes nothing', async () => {
  const stage = new Stage({ keep: [{ ageMs: DAY, everyMs: HOUR }] });
  stage.putOfDays(3);
  const { size } = stage.objects;
  stage.fault = new TargetError('TARGET_BUSY', 'the target is busy');
  await stage.pass(HOUR);
  assert.equal(stage.objects.size, size);
});

test('segments of its own history that nothing needs are deleted, and the backup before the others stays', async () => {
  const stage = new Stage({ keep: [{ ageMs: DAY, everyMs: 2 * DAY }] });
  const [long, before] = [stage.wall - 4 * DAY, stage.wall - 3 * DAY];
  stage.lineage = [{ runId: runId('b'), validTo: offset(20), reason: 'promoted', at: long }];
  stage.putOfDays(3);
  const shared = stage.putSegment(0, 10, long, runId('b'));
  const diverged = stage.putSegment(15, 25, long, runId('b'));
  const old = stage.putSegment(20, 40, long);
  const base = stage.put(50, before);
  const needed = [stage.putSegment(45, 55, before), stage.putSegment(55, 100, stage.wall)];
  await stage.pass(10_000);
  // putOfDays has put backups of more than a day ago: the newest of them is where the window begins.
  assert.deepEqual(
    [shared, old, base, diverged, ...needed].map((name) => stage.objects.has(name)),
    [false, false, false, true, true, true],
  );
  const first = [...stage.objects.values()].filter(
    ({ name, modified }) => name.endsWith('.db') && modified <= stage.wall - DAY,
  );
  assert.equal(first.length, 1);
  assert.deepEqual(stage.warnings, []);
});

test('a pass deletes as many segments as have come in, however rare backups are', async () => {
  const stage = new Stage({ keep: [{ ageMs: DAY, everyMs: 2 * DAY }] });
  stage.offset = 10_000;
  stage.putOfDays(3);
  const old = Array.from({ length: 2_500 }, (_, index) =>
    stage.putSegment(index, index + 1, stage.wall - 4 * DAY),
  );
  stage.put(5_000, stage.wall - 3 * DAY);
  stage.putSegment(2_500, 5_000, stage.wall - 3 * DAY);
  stage.putSegment(5_000, 10_000, stage.wall);
  await stage.pass(10_000);
  await until('the segments are deleted', () => old.every((name) => !stage.objects.has(name)) || null);
});

test('a wrong wall clock deletes no segments', async () => {
  const stage = new Stage({ keep: [{ ageMs: DAY, everyMs: HOUR }] }, 400 * DAY);
  const base = stage.put(20, NOW - 2 * DAY);
  const segment = stage.putSegment(0, 10, NOW - 3 * DAY);
  await stage.pass(10_000);
  assert.ok(stage.objects.has(segment) && stage.objects.has(base));
});

test('two nodes may delete the same backups', async () => {
  const stage = new Stage({ keep: [{ ageMs: DAY, everyMs: HOUR }] });
  stage.putOfDays(4);
  stage.deletedByOthers.add(stage.put(40, stage.wall - 4 * DAY));
  const old = stage.put(50, stage.wall - 3 * DAY);
  await stage.pass(10_000);
  assert.ok(!stage.objects.has(old));
  assert.deepEqual(stage.warnings, []);
});

test('after a jump of the wall clock nothing is deleted for a day', async () => {
  const stage = new Stage({ keep: [{ ageMs: DAY, everyMs: HOUR }] });
  await stage.pass(10_000);
  stage.offset = 200;
  stage.wall += 3_650 * DAY;
  await stage.pass(2 * HOUR);
  assert.equal(stage.objects.size, 2);
  stage.offset = 300;
  await stage.pass(22 * HOUR);
  assert.equal(stage.objects.size, 3);
  await stage.pass(2 * HOUR);
  assert.ok(!stage.objects.has(`${FOLDER}/100-20261129T000000Z.db`), stage.names.join());
});

test('a clock that jumps while the target takes a backup deletes nothing', async () => {
  const stage = new Stage({ keep: [{ ageMs: DAY, everyMs: HOUR }] });
  stage.putOfDays(3);
  const { promise, resolve } = Promise.withResolvers<void>();
  stage.slow = promise;
  await stage.pass(10_000);
  const before = stage.names;
  stage.wall += 400 * DAY;
  resolve();
  await stage.pass(1_000);
  assert.deepEqual([before.filter((name) => !stage.objects.has(name)), stage.puts], [[], 1]);
});

test('a node that starts with a clock far ahead of its backups deletes none for a day, however often it starts', async () => {
  const before = new Stage();
  before.putOfDays(3);
  let { objects } = before;
  for (const starts of [1, 2]) {
    const stage = new Stage({ keep: [{ ageMs: DAY, everyMs: HOUR }] }, 400 * DAY + starts * 2 * HOUR);
    for (const [name, object] of objects) stage.objects.set(name, object);
    stage.offset = 100 + starts;
    await stage.pass(10_000);
    assert.deepEqual(
      before.names.filter((name) => !stage.objects.has(name)),
      [],
    );
    assert.equal(stage.puts, 1);
    objects = stage.objects;
  }
});

test('a node that starts with a clock ahead by most of what a short rule keeps deletes nothing', async () => {
  const stage = new Stage({ everyMs: HOUR, keep: [{ ageMs: 6 * HOUR, everyMs: HOUR }] }, 5 * HOUR);
  for (let hours = 30; hours >= 0; hours -= 1) stage.put(90 - hours, NOW - hours * HOUR);
  const before = stage.names;
  await stage.pass(10_000);
  assert.deepEqual(
    before.filter((name) => !stage.objects.has(name)),
    [],
  );
});

test('a clock that is ahead of that of the target deletes nothing', async () => {
  const stage = new Stage({ keep: [{ ageMs: DAY, everyMs: HOUR }] }, 400 * DAY);
  stage.targetAheadMs = -400 * DAY;
  for (const days of [1, 2, 3]) stage.put(90 - days, NOW - days * DAY);
  const before = stage.names;
  await stage.pass(2 * DAY);
  assert.deepEqual(
    before.filter((name) => !stage.objects.has(name)),
    [],
  );
});
