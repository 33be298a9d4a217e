/**
 * Everything that was ever written, by all nodes: for each run ID the bytes of its history as they were first
 * journaled, and the state that they lead to. No node knows this; it is what the nodes are held to.
 *
 * A history that grew out of another one shares that one's bytes up to its `base`, and has its own from there on.
 * Only the master of a history makes bytes of it: everybody else's have to be here already.
 *
 * A master whose folder was rolled back unnoticed makes other bytes under the same run ID. Each such stream has a *true name*
 * here, which no node knows: that of the first one is the run ID.
 */
import type { Entry } from '../../src/keyspace/entry.ts';
import type { History } from '../../src/replication/history.ts';
import type { Offset, Position, RunId } from '../../src/replication/position.ts';
import type { Command } from '../../src/stream/command.ts';
import { STREAM_LIMITS, StreamDecoder } from '../../src/stream/decoder.ts';
import { RespParser } from '../../src/stream/resp-parser.ts';
import { addDigests, applyCommand, entryDigest } from './keyspace-image.ts';

/** A value that was set: which key, and by which bytes. */
export interface SetByCommand {
  readonly key: string;
  readonly value: Buffer;
}

class Chapter {
  readonly parent: Chapter | null;
  /** Up to here the parent's bytes are this history's. */
  readonly base: number;
  /** The hand-over keeps a house together: of its histories at most one has a master. */
  readonly house: string;
  readonly entries: Map<string, Entry>;
  /** What the entries add up to after each command outside of a transaction, by offset. */
  readonly digests = new Map<number, number>();
  /** By version. */
  readonly sets = new Map<number, SetByCommand>();
  readonly #parser = new RespParser(STREAM_LIMITS);
  readonly #decoder = new StreamDecoder();
  #boundary: number;
  /** What came behind the boundary. */
  #open: Buffer[] = [];
  #inMulti = false;
  #bytes = Buffer.alloc(256);
  #digest: number;
  end: number;

  constructor(parent: Chapter | null, base: number, house: string) {
    this.parent = parent;
    this.base = base;
    this.end = base;
    this.#boundary = base;
    this.house = house;
    this.entries = parent === null ? new Map() : parent.stateAt(base);
    this.#digest = 0;
    for (const [key, entry] of this.entries) this.#digest = addDigests(this.#digest, entryDigest(key, entry));
    this.digests.set(base, this.#digest);
  }

  extend(bytes: Buffer, isSet: (value: Buffer) => void): void {
    const length = this.end - this.base;
    if (length + bytes.length > this.#bytes.length) {
      const larger = Buffer.alloc((length + bytes.length) * 2);
      this.#bytes.copy(larger, 0, 0, length);
      this.#bytes = larger;
    }
    bytes.copy(this.#bytes, length);
    this.end += bytes.length;
    // A replica may stand behind each command that is not inside of a transaction; MULTI and EXEC are looked for here,
    // and not left to the decoder, which is one of those that are watched.
    this.#parser.push(Buffer.from(bytes));
    for (let next = this.#parser.next(); next !== null; next = this.#parser.next()) {
      this.#open.push(next.raw);
      const name = (next.elements[0] as Buffer).toString('latin1');
      if (name === 'MULTI') this.#inMulti = true;
      if (name === 'EXEC') this.#inMulti = false;
      if (!this.#inMulti) this.#close(isSet);
    }
  }

  #close(isSet: (value: Buffer) => void): void {
    const run = this.#decoder.push(Buffer.concat(this.#open));
    this.#open = [];
    if (run === null) throw new Error(`no command ends behind ${this.#boundary}`);
    for (const [index, command] of run.commands.entries()) {
      this.#apply(command, this.#boundary + (run.ends[index] as number));
      if (command.kind === 'set') isSet(command.value);
    }
    this.#boundary += run.bytes.length;
    this.digests.set(this.#boundary, this.#digest);
  }

  /** The bytes [from, to), as far as they are known. */
  bytes(from: number, to: number): Buffer {
    if (from >= this.base) return this.#bytes.subarray(from - this.base, Math.min(to, this.end) - this.base);
    const below = this.parent?.bytes(from, Math.min(to, this.base)) ?? Buffer.alloc(0);
    return to <= this.base ? below : Buffer.concat([below, this.bytes(this.base, to)]);
  }

  stateAt(offset: number): Map<string, Entry> {
    if (offset < this.base || (offset === this.base && this.parent !== null)) {
      return this.parent?.stateAt(offset) ?? new Map();
    }
    const entries = this.parent === null ? new Map<string, Entry>() : this.parent.stateAt(this.base);
    const run = new StreamDecoder().push(Buffer.from(this.bytes(this.base, offset)));
    for (const [index, command] of run?.commands.entries() ?? []) {
      applyCommand(entries, command, this.base + (run?.ends[index] as number));
    }
    return entries;
  }

  #apply(command: Command, version: number): void {
    const keys = keysOf(command, this.entries);
    for (const key of keys) this.#count(key, -1);
    applyCommand(this.entries, command, version);
    for (const key of keys) this.#count(key, 1);
    if (command.kind === 'set') this.sets.set(version, { key: command.key, value: command.value });
  }

  #count(key: string, sign: 1 | -1): void {
    const entry = this.entries.get(key);
    if (entry !== undefined) this.#digest = addDigests(this.#digest, sign * entryDigest(key, entry));
  }
}

export class Ledger {
  readonly #chapters = new Map<RunId, Chapter>();
  readonly #values = new Set<string>();
  /** The true names of the streams under a run ID, if there is more than one. */
  readonly #streams = new Map<RunId, RunId[]>();

  knows(runId: RunId): boolean {
    return this.#chapters.has(runId);
  }

  houseOf(runId: RunId): string {
    return this.#chapter(runId).house;
  }

  /** Where the history has its run ID from: up to there its bytes are those of the one that it grew out of. */
  baseOf(runId: RunId): number {
    return this.#chapter(runId).base;
  }

  /** A history of nothing. */
  begin(runId: RunId): void {
    this.#chapters.set(runId, new Chapter(null, 0, runId));
  }

  /** A history goes on under another run ID. @param house the parent's, or another one */
  branch(runId: RunId, from: Position, house: string): void {
    this.#chapters.set(runId, new Chapter(this.#chapter(from.runId), from.offset, house));
  }

  /** A master goes on from an older copy of its files, under the run ID that it has. @returns the true name of its stream */
  fork(runId: RunId, truth: RunId, from: Offset): RunId {
    const streams = this.streamsOf(runId);
    const name = `${runId}~${streams.length}` as RunId;
    this.#streams.set(runId, [...streams, name]);
    this.#chapters.set(name, new Chapter(this.#chapter(truth), from, name));
    return name;
  }

  /** The true names of all streams under the run ID. */
  streamsOf(runId: RunId): RunId[] {
    return this.#streams.get(runId) ?? [runId];
  }

  /** Whether who truly stands at `later` has all that some stream under the other's run ID had at `earlier`. */
  includesNamed(later: Position, earlier: Position): boolean {
    return this.streamsOf(earlier.runId).some((runId) => {
      return this.includes(later, { runId, offset: earlier.offset });
    });
  }

  /**
   * How far two histories are the same: as far as one has grown out of the other, and further if the same was written to both
   * from there on (a master that has lost the deletion of an expired entry writes it again).
   */
  sharedBy(one: RunId, other: RunId): number {
    let shared = this.#grownTogether(one, other);
    const end = Math.min(this.#chapter(one).end, this.#chapter(other).end);
    if (shared >= end) return shared;
    const ours = this.#chapter(one).bytes(shared, end);
    const theirs = this.#chapter(other).bytes(shared, end);
    const from = shared;
    for (let at = from + 1; at <= end && ours[at - from - 1] === theirs[at - from - 1]; at += 1) {
      const [here, there] = [one, other].map((runId) => this.digestAt({ runId, offset: at as Offset }));
      if (here !== undefined && there !== undefined) shared = at;
    }
    return shared;
  }

  #grownTogether(one: RunId, other: RunId): number {
    const bounds = new Map<Chapter, number>();
    let bound = Number.POSITIVE_INFINITY;
    for (let at: Chapter | null = this.#chapter(one); at !== null; at = at.parent) {
      bounds.set(at, bound);
      bound = Math.min(bound, at.base);
    }
    bound = Number.POSITIVE_INFINITY;
    for (let at: Chapter | null = this.#chapter(other); at !== null; at = at.parent) {
      const met = bounds.get(at);
      if (met !== undefined) return Math.min(met, bound);
      bound = Math.min(bound, at.base);
    }
    return 0;
  }

  /** Whether who stands at `later` has all that stood at `earlier`. */
  includes(later: Position, earlier: Position): boolean {
    return earlier.offset <= Math.min(later.offset, this.sharedBy(later.runId, earlier.runId));
  }

  /** @returns what is wrong with these bytes behind `from`, or null; what a master makes is new, and added */
  record({ runId, offset: from }: Position, bytes: Buffer, byMaster: boolean): string | null {
    const chapter = this.#chapter(runId);
    const known = Math.max(0, Math.min(bytes.length, chapter.end - from));
    const wrong = this.contradiction({ runId, offset: from }, bytes.subarray(0, known));
    if (wrong !== null || known === bytes.length) return wrong;
    if (!byMaster)
      return `bytes ${from + known + 1} to ${from + bytes.length} of ${runId} were never written by a master`;
    if (from + known !== chapter.end)
      return `a gap: ${runId} ends at ${chapter.end}, and goes on after ${from}`;
    chapter.extend(bytes.subarray(known), (value) => this.#values.add(value.toString('latin1')));
    return null;
  }

  /** Whether somebody has ever set something to it. */
  hasValue(value: string): boolean {
    return this.#values.has(value);
  }

  /** @returns where the bytes behind `from` are not those of the history, or null */
  contradiction({ runId, offset: from }: Position, bytes: Buffer): string | null {
    const known = this.#chapter(runId).bytes(from, from + bytes.length);
    if (known.equals(bytes)) return null;
    return `bytes ${from + 1} to ${from + bytes.length} of ${runId} are not what they were`;
  }

  /** What the entries add up to there; undefined: a position cannot be there. */
  digestAt({ runId, offset }: Position): number | undefined {
    let chapter = this.#chapter(runId);
    while (offset < chapter.base && chapter.parent !== null) chapter = chapter.parent;
    return chapter.digests.get(offset);
  }

  entriesAt({ runId, offset }: Position): ReadonlyMap<string, Entry> {
    return this.#chapter(runId).stateAt(offset);
  }

  /** The SET that ended at `version`. */
  setAt(runId: RunId, version: number): SetByCommand | undefined {
    let chapter = this.#chapter(runId);
    while (version <= chapter.base && chapter.parent !== null) chapter = chapter.parent;
    return chapter.sets.get(version);
  }

  /** @returns an ancestor that is said to be shared further than it is, or null */
  exaggeration(history: History, truth: RunId): string | null {
    for (const { runId, validTo } of history.lineage) {
      if (!this.knows(runId)) return `${runId} is in a lineage, and was never a history`;
      const shared = Math.max(...this.streamsOf(runId).map((stream) => this.sharedBy(truth, stream)));
      if (validTo > shared)
        return `${history.runId} says it shares ${runId} to ${validTo}; it does to ${shared}`;
    }
    return null;
  }

  #chapter(runId: RunId): Chapter {
    const chapter = this.#chapters.get(runId);
    if (chapter === undefined) throw new Error(`${runId} was never a history`);
    return chapter;
  }
}

function keysOf(command: Command, entries: ReadonlyMap<string, Entry>): readonly string[] {
  if (command.kind === 'flush-all') return [...entries.keys()];
  return command.kind === 'del' ? [...new Set(command.keys)] : [command.key];
}
