/**
 * A machine's disk: what is left of a node between two of its lives.
 *
 * psyncd.db is a row that is always durable, and a journal. What is appended to the journal and trimmed from it are
 * transactions of one log: a crash of the process loses none of them, a power cut loses the last ones that were not
 * synced. Keyspace files change by whole commits, which are durable.
 */
import type { Entry } from '../../src/keyspace/entry.ts';
import type { KeptFile, TimeMark } from '../../src/node/ports/state-store.ts';
import type { History } from '../../src/replication/history.ts';
import type { HashedOffset } from '../../src/replication/history-hash.ts';
import type { Offset, Position, RunId } from '../../src/replication/position.ts';
import type { FsyncPolicy } from '../../src/store/state/state-settings.ts';
import type { Chance } from './chance.ts';

export interface NodeRow {
  readonly history: History;
  readonly upstream: string | null;
  readonly handingOver: boolean;
  readonly guardedAgainst: RunId | null;
  /** 0: the first keyspace file has not been made yet. */
  readonly keyspaceNumber: number;
  readonly clean: boolean;
  readonly boot: string | null;
  readonly fsync: FsyncPolicy;
  readonly kept: readonly KeptFile[];
  /** Which file psyncd.db was when the last run began; null: it is not recorded. */
  readonly file: number | null;
  /** The history hash where the last snapshot has taken over. */
  readonly toldHash: HashedOffset | null;
  /** Where the history got its run ID; null: the node began with it, or got it with a snapshot. */
  readonly renamedAt: Offset | null;
}

export interface JournalRow {
  readonly end: number;
  readonly bytes: Buffer;
  /** The history hash before the row. */
  readonly hash: bigint | null;
  readonly beginsChain: boolean;
  /** The time marks after the row was appended. */
  readonly times: readonly TimeMark[];
  /** Its bytes on the disk are not those that were written. */
  readonly isDamaged?: true;
}

/** A keyspace file's committed content; a commit makes another one. */
export interface KeyspaceImage {
  readonly position: Position;
  readonly entries: ReadonlyMap<string, Entry>;
}

export interface FolderCopy {
  readonly row: NodeRow;
  readonly truth: RunId;
  readonly journal: readonly JournalRow[];
  readonly files: ReadonlyMap<number, KeyspaceImage>;
  readonly kept: ReadonlyMap<string, KeyspaceImage>;
}

type JournalChange =
  | { readonly kind: 'append'; readonly row: JournalRow }
  | { readonly kind: 'trim'; readonly count: number };

/** Files of all disks that have been made: no two have the same identity, also on two machines. */
let files = 0;

function newFile(): number {
  files += 1;
  return files;
}

export class Disk {
  row: NodeRow;
  /** Names the boot of the machine. */
  boot: string;
  /** Which file psyncd.db is: a copy of it is another one, `becomeCopy`. */
  file = newFile();
  /** Nothing can be written. */
  isFull = false;
  /** By the n of `keyspace-<n>.db`. */
  readonly files = new Map<number, KeyspaceImage>();
  /** By name. */
  readonly kept = new Map<string, KeyspaceImage>();
  /** Which of the streams that there are under the run ID this disk's bytes are of: only the referee knows. */
  truth: RunId;
  /** How often a snapshot has taken over. */
  adoptions = 0;
  #journal: JournalRow[] = [];
  #synced: JournalRow[] = [];
  #unsynced: JournalChange[] = [];

  constructor(row: NodeRow, boot: string) {
    this.row = row;
    this.boot = boot;
    this.truth = row.history.runId;
  }

  /** What a copy of the folder holds: everything that was written, on disk or not. */
  copy(): FolderCopy {
    const { row, truth } = this;
    return { row, truth, journal: [...this.#journal], files: new Map(this.files), kept: new Map(this.kept) };
  }

  /** The folder's content is the copy's from now on; which file psyncd.db is does not change. */
  putBack({ row, truth, journal, files, kept }: FolderCopy): void {
    this.row = row;
    this.truth = truth;
    this.#journal = [...journal];
    this.#synced = [...journal];
    this.#unsynced = [];
    replace(this.files, files);
    replace(this.kept, kept);
  }

  get journal(): readonly JournalRow[] {
    return this.#journal;
  }

  /** How many transactions a power cut could lose. */
  get unsynced(): number {
    return this.#unsynced.length;
  }

  /** Before the first bytes that a power cut could lose; null: it could lose none. */
  get durableEnd(): number | null {
    const first = this.#unsynced.find((change) => change.kind === 'append');
    return first === undefined ? null : first.row.end - first.row.bytes.length;
  }

  /** Where a node would come up: at the end of the journal, or where the keyspace file is, if that is further. */
  get position(): Position {
    return positionOf(this);
  }

  append(row: JournalRow): void {
    this.#change({ kind: 'append', row });
  }

  /** Drops the first rows. */
  trim(count: number): void {
    this.#change({ kind: 'trim', count });
  }

  /** Damages the row that ends there; copies of the folder keep theirs. */
  damage(end: number): void {
    const damaged = (row: JournalRow): JournalRow => (row.end === end ? { ...row, isDamaged: true } : row);
    this.#journal = this.#journal.map(damaged);
    this.#synced = this.#synced.map(damaged);
    this.#unsynced = this.#unsynced.map((change) =>
      change.kind === 'append' ? { ...change, row: damaged(change.row) } : change,
    );
  }

  /** The files are copies from now on: of this node's, of its past, or of another node's. */
  becomeCopy(): void {
    this.file = newFile();
  }

  /** A transaction that is durable, like everything that went before it. */
  putRow(change: Partial<NodeRow>): void {
    this.row = { ...this.row, ...change };
    this.sync();
  }

  /** A snapshot takes over, or the keyspace file alone goes on. */
  emptyJournal(): void {
    this.#journal = [];
    this.#synced = [];
    this.#unsynced = [];
  }

  /** @param count so many of the transactions that were not synced are now */
  sync(count = this.#unsynced.length): void {
    for (const change of this.#unsynced.slice(0, count)) carryOut(change, this.#synced);
    this.#unsynced = this.#unsynced.slice(count);
  }

  /** The machine goes down and comes up again. @returns how many transactions are lost */
  cutPower(chance: Chance): number {
    const kept = chance.between(0, this.#unsynced.length);
    const lost = this.#unsynced.length - kept;
    this.sync(kept);
    this.#unsynced = [];
    this.#journal = [...this.#synced];
    this.boot = chance.hex(8);
    return lost;
  }

  #change(change: JournalChange): void {
    this.#unsynced.push(change);
    carryOut(change, this.#journal);
  }
}

/** Where a node would come up that has such a folder. */
export function positionOf({ row, files, journal }: Pick<FolderCopy, 'row' | 'files' | 'journal'>): Position {
  const held = files.get(row.keyspaceNumber)?.position.offset ?? 0;
  const end = journal.at(-1)?.end ?? held;
  return { runId: row.history.runId, offset: Math.max(end, held) as Position['offset'] };
}

function replace<K, V>(map: Map<K, V>, content: ReadonlyMap<K, V>): void {
  map.clear();
  for (const [key, value] of content) map.set(key, value);
}

function carryOut(change: JournalChange, journal: JournalRow[]): void {
  if (change.kind === 'append') journal.push(change.row);
  else journal.splice(0, change.count);
}
