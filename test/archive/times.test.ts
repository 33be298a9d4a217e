/**
 * The list of windows and restores to times have one rule for which history a time belongs to, and that is what the nodes were on. Random
 * clusters with a model: nodes are promoted, cut off, put back, or stop uncleanly, and their clocks are wrong for a while.
 */
import assert from 'node:assert/strict';
import test from 'node:test';
import { ArchiveError } from '../../src/archive/archive-error.ts';
import type { Catalogue } from '../../src/archive/catalogue.ts';
import type { Mark } from '../../src/archive/commit-times.ts';
import { replay } from '../../src/archive/restoring/replay.ts';
import { type Goal, routeTo } from '../../src/archive/restoring/route.ts';
import { windowsIn } from '../../src/archive/retention/windows.ts';
import type { BackupTarget } from '../../src/node/ports/backup-target.ts';
import { type History, type LineageReason, newHistory, renamed } from '../../src/replication/history.ts';
import { offset, type RunId } from '../../src/replication/position.ts';
import { runId } from '../support/arbitraries.ts';
import { Counter, MemoryTarget, NO_BASE } from '../support/memory-archive.ts';
import { seeded } from '../support/random.ts';

const SECOND = 1_000;
const MINUTE = 60 * SECOND;
const DAY = 24 * 60 * MINUTE;
const ROUNDS = Number(process.env.TIMES_ROUNDS ?? 12);
const REASONS: readonly LineageReason[] = ['promoted', 'unclean-stop', 'restored'];

/** A commit of one byte, by the clock that is right and by that of its node. */
interface Commit {
  readonly ms: number;
  readonly dated: number;
}

/** A history with the commits of its line, from the first byte on. */
interface Line {
  readonly history: History;
  readonly commits: readonly Commit[];
}

/** Nodes of one cluster, and what they archive. The clock of the target is right. */
class Nodes {
  readonly target = new MemoryTarget();
  readonly #random: () => number;
  readonly #log: string[] = [];
  /** What the nodes were on, from a time on. */
  readonly past: { readonly from: number; readonly line: Line }[] = [];
  /** What an old node has written, by the new history beside which it did. */
  readonly #beside = new Map<History, Line>();
  line: Line;
  aheadMs = 0;

  constructor(random: () => number) {
    this.#random = random;
    this.line = { history: newHistory(runId('a')), commits: [] };
    this.target.histories.set(this.line.history.runId, this.line.history);
    this.past.push({ from: this.target.now, line: this.line });
    this.#base(this.line);
  }

  get story(): string {
    return this.#log.join('; ');
  }

  below(limit: number): number {
    return Math.floor(this.#random() * limit);
  }

  /** Somebody copies the objects to another target, which gives them times of its own. */
  copied(): void {
    const { objects, now } = this.target;
    const after = this.below(2) * 30 * DAY;
    for (const [name, object] of objects) {
      objects.set(name, { ...object, modified: now + after + this.below(60 * MINUTE) });
    }
    this.#log.push(`copied after ${after / DAY} days`);
  }

  /** The node writes, and archives that in segments of a few commits. */
  writes(count: number, most = 5): void {
    this.line = this.#written(this.line, count, most);
    this.past.push({ from: this.target.now, line: this.line });
  }

  #written(line: Line, count: number, most: number): Line {
    const { history } = line;
    const commits = [...line.commits];
    for (let left = count; left > 0; ) {
      const after = commits.length;
      for (let size = Math.min(left, 1 + this.below(most)); size > 0; size -= 1) {
        this.target.now += 10 * SECOND + this.below(30 * SECOND);
        commits.push({ ms: this.target.now, dated: this.target.now + this.aheadMs });
        this.past.push({ from: this.target.now, line: { history, commits: [...commits] } });
      }
      const marks = commits.slice(after).map(({ dated }, index): Mark => [after + index + 1, dated]);
      this.target.segment(history.runId, after, commits.length, undefined, marks);
      left -= commits.length - after;
      if (this.below(6) === 0) this.#base({ history, commits });
    }
    this.#log.push(`${history.runId[0]} wrote to ${commits.length}, ${this.aheadMs / SECOND} s ahead`);
    return { history, commits };
  }

  #base({ history, commits }: Line): void {
    this.target.base(history.runId, commits.length, this.target.now + this.aheadMs);
    this.#log.push(`base of ${history.runId[0]} at ${commits.length}`);
  }

  /** Another run ID begins. @param goOn commits that the old node writes beside it */
  begins(run: RunId, reason: LineageReason, aheadMs: number, goOn: number): void {
    const before = this.line;
    const lost = reason === 'restored' ? this.below(10) : this.below(3);
    const shared = Math.max(0, before.commits.length - (this.below(2) === 0 ? 0 : lost));
    this.target.now += 1 + this.below(5 * SECOND);
    this.aheadMs = aheadMs;
    const at = this.target.now + aheadMs;
    const history = renamed(before.history, { runId: run, validTo: offset(shared), reason, at });
    this.target.histories.set(run, history);
    this.line = { history, commits: before.commits.slice(0, shared) };
    this.#log.push(`${run[0]} ${reason} at ${shared}, ${aheadMs / SECOND} s ahead`);
    this.past.push({ from: this.target.now, line: this.line });
    if (goOn === 0) return;
    // Both write in turn; the clock of the old one is right.
    const { now } = this.target;
    const past = this.past.splice(0);
    this.aheadMs = 0;
    this.#beside.set(history, this.#written(before, goOn, 2));
    this.past.splice(0, Number.POSITIVE_INFINITY, ...past);
    this.target.now = now;
    this.aheadMs = aheadMs;
  }

  /**
   * What the nodes had at a time; and the same up to a commit that is dated later, and what they had before the present run ID, if
   * that began later by its clock, and has written nothing that is dated by then; also of a node that has gone on beside it.
   */
  wanted(time: number, until = time): readonly Line[] {
    const line = this.past.filter(({ from }) => from <= until).at(-1)?.line as Line;
    const isLater = (at: number): boolean => (line.commits[at]?.dated ?? 0) > time;
    const ends = [...line.commits.keys()].filter((at) => isLater(at) && !isLater(at - 1));
    const lines = [line, ...ends.map((end) => ({ ...line, commits: line.commits.slice(0, end) }))];
    const [began] = line.history.lineage;
    if (began === undefined || began.at <= time) return lines;
    if (line.commits.slice(began.validTo).some(({ dated }) => dated <= time)) return lines;
    const { from } = this.past.find((each) => each.line.history === line.history) as { from: number };
    const beside = this.#beside.get(line.history);
    const others =
      beside === undefined
        ? []
        : [
            {
              ...beside,
              commits: beside.commits.slice(
                0,
                1 + beside.commits.findLastIndex(({ dated }) => dated <= time),
              ),
            },
          ];
    return [...lines, ...others, ...this.wanted(time, from - 1)];
  }
}

/** The run ID that wrote the last of some bytes. */
function writerOf({ runId: own, lineage }: History, end: number): RunId {
  return lineage.findLast(({ validTo }) => validTo >= end)?.runId ?? own;
}

async function restored(
  catalogue: Catalogue,
  at: number,
): Promise<{ readonly history: History; readonly end: number; readonly isSaid: boolean } | ArchiveError> {
  const goal: Goal = { kind: 'time', at };
  try {
    const route = await routeTo(catalogue, goal);
    const into = new Counter(route.base.offset);
    const { hasEarlierTimes, isOfBefore } = await replay(catalogue, route, goal, into);
    return { history: route.history, end: into.offset, isSaid: hasEarlierTimes || isOfBefore };
  } catch (error) {
    if (error instanceof ArchiveError) return error;
    throw error;
  }
}

/** A cluster in which something happens a few times. */
function lived(random: () => number, { isAhead, goesOn }: { isAhead: boolean; goesOn: boolean }): Nodes {
  const nodes = new Nodes(random);
  nodes.writes(3 + nodes.below(12));
  for (const id of 'bcde') {
    const reason = REASONS[nodes.below(REASONS.length)] as LineageReason;
    const ahead = [30 * SECOND, 3 * MINUTE, 10 * MINUTE, 365 * DAY][nodes.below(4)] as number;
    const aheadMs = isAhead && nodes.below(2) === 0 ? ahead : 0;
    const isCutOff = goesOn && reason !== 'unclean-stop' && nodes.below(3) === 0;
    nodes.begins(runId(id), reason, aheadMs, isCutOff ? 1 + nodes.below(8) : 0);
    if (nodes.below(3) === 0) nodes.writes(1 + nodes.below(3));
    nodes.aheadMs = 0;
    nodes.writes(3 + nodes.below(12));
  }
  return nodes;
}

async function listed({ target }: Nodes) {
  const { windows } = await windowsIn(target as unknown as BackupTarget, NO_BASE);
  return windows;
}

test('each time that the list of windows shows can be restored, and no other one', async (t) => {
  const random = seeded();
  t.diagnostic(`seed ${random.seed}`);
  for (let round = 0; round < ROUNDS; round += 1) {
    const nodes = lived(random.random, { isAhead: round % 2 === 1, goesOn: true });
    if (round % 4 > 1) nodes.copied();
    const what = `seed ${random.seed}, round ${round}: ${nodes.story}`;
    const catalogue = await nodes.target.catalogue();
    const windows = await listed(nodes);
    const shown = windows.flatMap(({ from, to }) =>
      from.at === null || to.at === null ? [] : [{ from: from.at, to: to.at }],
    );
    for (const { from, to } of shown) {
      for (const part of [0, random.random(), random.random(), 1]) {
        const time = from + Math.floor(part * (to - from));
        const found = await restored(catalogue, time);
        assert.ok(!(found instanceof ArchiveError), `${what}: ${time} of ${from} to ${to}: ${String(found)}`);
      }
    }
    const begin = nodes.past[0]?.from as number;
    for (let count = 0; count < 10; count += 1) {
      const time = begin + nodes.below(nodes.target.now - begin);
      const isShown = shown.some(({ from, to }) => from <= time && time <= to);
      const found = await restored(catalogue, time);
      if (isShown || found instanceof ArchiveError) continue;
      // After the last write of a history nothing more is known of it. Where the clock was ahead before that write, a restore stops
      // earlier, and says so.
      const isAfter = windows.some(({ to: { position, at } }) => {
        const isEnd =
          position.offset === found.end || (found.isSaid && position.runId === found.history.runId);
        return isEnd && (at ?? time) < time;
      });
      assert.ok(
        isAfter,
        `${what}: ${time} is not shown in ${JSON.stringify(shown)}, but ${JSON.stringify(found)}`,
      );
    }
  }
});

test('a restore to a time gives what the nodes had then, or says that a clock was wrong, or that it cannot tell', async (t) => {
  const random = seeded();
  t.diagnostic(`seed ${random.seed}`);
  let [given, refused] = [0, 0];
  for (let round = 0; round < ROUNDS; round += 1) {
    const nodes = lived(random.random, { isAhead: round % 3 > 0, goesOn: round % 3 === 2 });
    if (round % 2 === 1) nodes.copied();
    const catalogue = await nodes.target.catalogue();
    const begin = (nodes.past[0]?.from as number) + SECOND;
    for (let count = 0; count < 25; count += 1) {
      const time = begin + nodes.below(nodes.target.now - begin);
      const found = await restored(catalogue, time);
      if (found instanceof ArchiveError) refused += 1;
      if (found instanceof ArchiveError || found.isSaid) continue;
      given += 1;
      const what = `seed ${random.seed}, round ${round}: ${nodes.story}: at ${time}, of ${nodes.target.now}`;
      const wanted = nodes
        .wanted(time)
        .map(({ history, commits: { length } }) => `${writerOf(history, length)}:${length}`);
      const got = `${writerOf(found.history, found.end)}:${found.end}`;
      assert.ok(wanted.includes(got), `${what}: gives ${got}, not ${wanted.join(' or ')}`);
    }
  }
  t.diagnostic(`${given} given, ${refused} refused`);
});
