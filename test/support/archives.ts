/** An archive in a folder, made of random commands, and a model that knows the entries at each position and time of it. */
import assert from 'node:assert/strict';
import { mkdir, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import { CommitTimes, type Mark } from '../../src/archive/commit-times.ts';
import { segmentName } from '../../src/archive/names.ts';
import { type SegmentHeader, SegmentWriter } from '../../src/archive/segment.ts';
import { xxh64 } from '../../src/node/head/history/xxh64.ts';
import type { Ancestor } from '../../src/replication/history.ts';
import { chained } from '../../src/replication/history-hash.ts';
import { type Offset, offset, type RunId } from '../../src/replication/position.ts';
import { checkBackup } from '../../src/store/backup/check-backup.ts';
import { GrowingBackup } from '../../src/store/backup/growing-backup.ts';
import type { Command } from '../../src/stream/command.ts';
import { Encoder } from '../../src/stream/encoder.ts';
import { BACKED_UP, makeBackup } from './backups.ts';

/** The entries of a moment: key to value, expiry and version. */
export type Entries = ReadonlyMap<string, Entry>;
type Entry = readonly [value: string, expiresAt: number | null, version: number];

export interface State {
  readonly at: number;
  /** When it was committed, in milliseconds since 1970. */
  readonly ms: number;
  readonly entries: Entries;
  readonly hash: bigint;
}

/** When the first write of a test's archive was committed. */
export const BEGUN_AT = Date.parse('2026-11-29T05:00:00Z');

/** A stream that grows by random commits, with the state after each. */
export class ModelStream {
  readonly #random: () => number;
  /** All bytes since `BACKED_UP`. */
  bytes = Buffer.alloc(0);
  readonly states: State[];
  readonly times: CommitTimes;

  /** @param begunAt when the clock stood at its begin, in milliseconds since 1970 */
  constructor(random: () => number, begunAt = BEGUN_AT) {
    this.#random = random;
    this.states = [{ at: BACKED_UP.offset, ms: begunAt, entries: new Map(), hash: 7n }];
    this.times = new CommitTimes(BACKED_UP.offset, begunAt);
  }

  get last(): State {
    return this.states.at(-1) as State;
  }

  /** The state at the last position that is at most this one. */
  stateAt(at: number): State {
    return this.states.findLast((state) => state.at <= at) as State;
  }

  /** The last state that was committed at this time or before. */
  stateOf(ms: number): State {
    return this.states.findLast((state) => state.ms <= ms) as State;
  }

  /** The offsets at which a commit ends after one and up to another. */
  commits(after: number, upTo: number): number[] {
    return this.states.map(({ at }) => at).filter((at) => at > after && at <= upTo);
  }

  /** Adds commits, each of one command or of a transaction, and some time after the one before. */
  grow(commits: number): void {
    for (let index = 0; index < commits; index += 1) this.#commit();
  }

  /** Adds a commit. @param waited milliseconds since the one before; less than 0 if the clock was set back meanwhile */
  growAfter(waited: number): void {
    this.#commit(waited);
  }

  /** Takes the last commits back, as a node that was given older files. */
  rewind(commits: number): void {
    this.states.splice(-commits);
    this.bytes = this.bytes.subarray(0, this.last.at - BACKED_UP.offset);
  }

  // As a default far enough apart for each commit to have a mark of its own.
  #commit(waited = 20 + this.#below(1_000)): void {
    const { at, ms, entries, hash } = this.last;
    const next = new Map(entries);
    const encoder = new Encoder();
    const commands = Array.from({ length: this.#below(5) === 0 ? 4 : 1 }, () => this.#command());
    if (commands.length > 1) encoder.beginTransaction();
    for (const command of commands) encoder.add(command);
    if (commands.length > 1) encoder.endTransaction();
    const { bytes, boundaries, ends } = encoder.finish();
    for (const [index, command] of commands.entries()) apply(next, command, at + (ends[index] as number));
    this.bytes = Buffer.concat([this.bytes, bytes]);
    const committed = ms + waited;
    const end = at + bytes.length;
    this.states.push({
      at: end,
      ms: committed,
      entries: next,
      hash: chained(hash, bytes, boundaries, xxh64),
    });
    this.times.committed(offset(end), committed);
  }

  #command(): Command {
    const key = `key/${this.#below(20)}`;
    const kind = this.#below(20);
    if (kind === 0) return { kind: 'flush-all' };
    if (kind < 4) return { kind: 'del', keys: [key, `key/${this.#below(20)}`] };
    if (kind < 6) return { kind: 'expire-at', key, expiresAt: 4e12 + this.#below(1_000) };
    if (kind < 8) return { kind: 'persist', key };
    const value = Buffer.alloc(this.#below(12) === 0 ? 5_000 : this.#below(100), String(this.#below(10)));
    return { kind: 'set', key, value, expiresAt: this.#below(4) === 0 ? 4e12 + this.#below(1_000) : null };
  }

  #below(limit: number): number {
    return Math.floor(this.#random() * limit);
  }
}

function apply(entries: Map<string, Entry>, command: Command, end: number): void {
  switch (command.kind) {
    case 'set':
      entries.set(command.key, [command.value.toString(), command.expiresAt, end]);
      break;
    case 'del':
      for (const key of command.keys) entries.delete(key);
      break;
    case 'flush-all':
      entries.clear();
      break;
    default: {
      const found = entries.get(command.key);
      const expiresAt = command.kind === 'persist' ? null : command.expiresAt;
      if (found !== undefined) entries.set(command.key, [found[0], expiresAt, found[2]]);
    }
  }
}

/** An archive of a `ModelStream` in a folder. */
export class TestArchive {
  readonly folder: string;
  readonly stream: ModelStream;
  readonly #cluster: string;
  /** Number of backups that were begun. */
  #made = 0;

  constructor(folder: string, stream: ModelStream, cluster = 'shop') {
    this.folder = folder;
    this.stream = stream;
    this.#cluster = cluster;
  }

  path(name: string): string {
    return join(this.folder, name);
  }

  /** Archives the bytes after `after` up to `end`. @returns the name of the segment */
  async segment(
    runId: RunId,
    after: number,
    end: number,
    header: Partial<SegmentHeader> = {},
    lineage: readonly Ancestor[] = [],
  ): Promise<string> {
    const { stream } = this;
    const writer = new SegmentWriter(end % 2 === 0);
    await writer.push(stream.bytes.subarray(after - BACKED_UP.offset, end - BACKED_UP.offset));
    const marks: readonly Mark[] = stream.times.between(after as Offset, end as Offset);
    const made = await writer.finish({
      runId,
      lineage,
      after: offset(after),
      end: offset(end),
      hashBefore: stream.stateAt(after).hash,
      hashAfter: stream.stateAt(end).hash,
      beginsChain: false,
      marks,
      ...header,
    });
    const name = segmentName(this.#cluster, runId, offset(after), offset(end));
    await mkdir(this.path(`${this.#cluster}/${runId}`), { recursive: true });
    await writeFile(this.path(name), made);
    return name;
  }

  /** Archives everything after `from` in segments of a few commits. @returns their names */
  async segments(
    runId: RunId,
    from: number,
    random: () => number,
    lineage: readonly Ancestor[] = [],
  ): Promise<string[]> {
    const names: string[] = [];
    let after = from;
    const commits = this.stream.commits(from, Number.MAX_SAFE_INTEGER);
    for (const [index, end] of commits.entries()) {
      if (index < commits.length - 1 && random() < 0.8) continue;
      names.push(await this.segment(runId, after, end, {}, lineage));
      after = end;
    }
    return names;
  }

  /** Puts a base at a position of the stream. @param aheadMs by which the clock is ahead @returns its name */
  async base(
    at: number,
    runId: RunId = BACKED_UP.runId,
    lineage: readonly Ancestor[] = [],
    aheadMs = 0,
  ): Promise<string> {
    const { stream } = this;
    const ms = stream.stateAt(at).ms + aheadMs;
    const time = new Date(ms).toISOString().replace(/[-:]|\.\d+/g, '');
    const name = `${this.#cluster}/${runId}/${at}-${time}.db`;
    // Another one may still be in the making that nobody waits for any more.
    this.#made += 1;
    const path = (what: string): string => this.path(`${what}-${this.#made}`);
    const [first, made, growth] = [path('first'), path('made'), path('growing')];
    await mkdir(this.path(`${this.#cluster}/${runId}`), { recursive: true });
    await makeBackup(first, []);
    const growing = await GrowingBackup.begin(
      first,
      await checkBackup(first, '0.1.0'),
      { runId, lineage: withBase(runId, lineage) },
      growth,
    );
    await growing.push(stream.bytes.subarray(0, at - BACKED_UP.offset));
    await growing.finish(made, '0.1.0', ms);
    await growing.discard();
    await rename(made, this.path(name));
    await rm(first);
    return name;
  }
}

/** @returns the lineage with the run ID of the first backup */
function withBase(runId: RunId, lineage: readonly Ancestor[]): readonly Ancestor[] {
  const { runId: first, offset: validTo } = BACKED_UP;
  const isThere = [runId, ...lineage.map((each) => each.runId)].includes(first);
  return isThere ? lineage : [...lineage, { runId: first, validTo, reason: 'promoted', at: 1 }];
}

/** Checks that a data folder that was restored has exactly these entries. */
export function hasEntries(folder: string, expected: Entries, message: string): void {
  const db = new Database(join(folder, 'keyspace-1.db'), { readonly: true });
  try {
    const rows = db
      .prepare(
        `SELECT key, coalesce(large_values.value, entries.value), expires_at, version
           FROM entries LEFT JOIN large_values ON large_values.id = entries.version AND length(entries.value) = 0`,
      )
      .raw()
      .all() as [string, Buffer, number | null, number][];
    const found = new Map(
      rows.map(([key, value, expiresAt, version]) => [key, [value.toString(), expiresAt, version]]),
    );
    assert.deepEqual(found, new Map(expected), message);
  } finally {
    db.close();
  }
}
