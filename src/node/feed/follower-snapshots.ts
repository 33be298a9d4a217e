/**
 * Snapshots for followers: the entries of their prefixes at one position.
 *
 * Owns: who waits. One whose entries are few is given them from memory at once, together with all who wait for the same,
 * one choice of prefixes after the other. The others come after them: a few at a time read the file, each at the pace of its
 * socket, and what the entries take in memory is one group for each. So a thousand that come at once cost little more than one.
 *
 * An entry belongs to it until its DEL is in the stream, expired or not: so the same position is the same snapshot on every
 * node, whatever the clocks say, and what the stream does with the entry next finds it there.
 */

import type { ListedEntry } from '../../keyspace/page.ts';
import type { CloseCode } from '../../replication/close-code.ts';
import type { FullResyncReason } from '../../replication/decide.ts';
import { formatPosition, type Offset, type Position } from '../../replication/position.ts';
import type { StreamHead } from '../head/stream-head.ts';
import { Hold } from '../hold.ts';
import type { EntryReader, World } from '../ports.ts';
import { Turns } from '../turns.ts';
import { unattended } from '../unattended.ts';
import { type Follower, HIGH_WATER_BYTES } from './follower.ts';
import { Frames } from './frames.ts';
import { entryMessage, resetMessage, syncedMessage } from './message.ts';

/** What is given from memory: at most so many entries, and about so many bytes of values. */
const SMALL_ENTRIES = 1_000;
const SMALL_BYTES = HIGH_WATER_BYTES;
/** The value of an entry that is given alone has so many bytes, or more. */
const LARGE_ENTRY_BYTES = 256 * 1024;
/** So many larger ones at the same time: each keeps the WAL from shrinking. */
const MAX_READERS = 4;

interface Waiting {
  readonly follower: Follower;
  /** Of the follower, when it began to wait. */
  readonly number: number;
}

interface SnapshotsParts {
  readonly world: World;
  readonly head: StreamHead;
  /** It is about to be given the entries of this offset: what follows must not go away. */
  begun(follower: Follower, at: Offset): void;
  /** It has been given them. */
  synced(follower: Follower): void;
  /** It cannot be given them. */
  failed(follower: Follower, error: unknown): void;
  /** It takes them so slowly that it has to go. */
  tooSlow(follower: Follower, code: CloseCode, detail: string): void;
  readonly settings: {
    /** What it may keep on the disk beyond what its pace allows. */
    readonly followerOutputBytes: number;
  };
}

export class FollowerSnapshots {
  readonly #parts: SnapshotsParts;
  /** By the choice of prefixes. */
  readonly #small = new Map<string, Waiting[]>();
  #serving = false;
  #large: Waiting[] = [];
  /** Those who are being given theirs from the file. */
  readonly #reading = new Set<Waiting>();
  readonly #room = new Map<Follower, () => void>();

  constructor(parts: SnapshotsParts) {
    this.#parts = parts;
  }

  /** The follower gets a snapshot, and nothing else until it has it. */
  begin(follower: Follower, reason: FullResyncReason): void {
    follower.awaitSnapshot(reason);
    // A reader that waits for room is not wanted any more; it has to notice, and to go.
    this.wake(follower);
    const waiting: Waiting = { follower, number: follower.snapshot };
    const { id } = follower.request.prefixes;
    const same = this.#small.get(id);
    if (same === undefined) this.#small.set(id, [waiting]);
    else same.push(waiting);
    if (!this.#serving) unattended(this.#serveSmall(), (error) => this.#parts.failed(follower, error));
  }

  /** Its socket takes more, or it has gone. */
  wake(follower: Follower): void {
    this.#room.get(follower)?.();
    this.#room.delete(follower);
  }

  async #serveSmall(): Promise<void> {
    this.#serving = true;
    try {
      for (;;) {
        await this.#turn();
        const [next] = this.#small;
        if (next === undefined) break;
        const [id, waiting] = next;
        this.#small.delete(id);
        await this.#serveTogether(waiting.filter(isWanted));
      }
    } finally {
      this.#serving = false;
    }
  }

  async #serveTogether(waiting: readonly Waiting[]): Promise<void> {
    const [first] = waiting;
    if (first === undefined) return;
    const { head } = this.#parts;
    try {
      const all = await head.collect(first.follower.request.prefixes.list, SMALL_ENTRIES, SMALL_BYTES);
      if (all === null) {
        this.#large = [...this.#large.filter(isWanted), ...waiting];
        this.#readNext();
        return;
      }
      const entries = new Frames(all.entries.map(entryMessage));
      const wanted = waiting.filter(isWanted);
      for (const { follower } of wanted) this.#parts.begun(follower, all.position.offset);
      const turns = new Turns(this.#parts.world);
      for (const each of wanted) {
        await turns.next();
        if (isWanted(each)) this.#giveAll(each, all.position, entries);
      }
    } catch (error) {
      for (const each of waiting) if (isWanted(each)) this.#parts.failed(each.follower, error);
    }
  }

  #giveAll({ follower }: Waiting, at: Position, entries: Frames): void {
    const position = formatPosition(at);
    follower.tell(resetMessage(position, follower.reason, entries.messages.length));
    follower.give(entries);
    this.#synced(follower, at);
  }

  #readNext(): void {
    while (this.#reading.size < MAX_READERS) {
      const next = this.#large.shift();
      if (next === undefined) return;
      if (isWanted(next)) this.#startReading(next);
    }
  }

  #startReading(waiting: Waiting): void {
    this.#reading.add(waiting);
    this.#read(waiting)
      .catch((error: unknown) => {
        if (isWanted(waiting)) this.#parts.failed(waiting.follower, error);
      })
      .finally(() => {
        this.#reading.delete(waiting);
        this.#readNext();
      });
  }

  async #read(waiting: Waiting): Promise<void> {
    if (!isWanted(waiting)) return;
    const { follower } = waiting;
    const { head } = this.#parts;
    const reader = await head.readEntries(follower.request.prefixes.list);
    const hold = this.#limitHold(follower, reader);
    try {
      if (!isWanted(waiting)) return;
      this.#parts.begun(follower, reader.position.offset);
      const turns = new Turns(this.#parts.world);
      const keys = await reader.count(turns);
      if (!isWanted(waiting)) return;
      follower.tell(resetMessage(formatPosition(reader.position), follower.reason, keys));
      for await (const group of reader.groups) {
        if (!isWanted(waiting)) return;
        for (const part of parts(group)) {
          follower.give(new Frames(part.map(entryMessage)));
          await (follower.isFull ? this.#roomOf(follower) : turns.next());
          if (!isWanted(waiting)) return;
        }
      }
      this.#synced(follower, reader.position);
    } finally {
      hold.stop();
      reader.close();
    }
  }

  #limitHold(follower: Follower, reader: EntryReader): Hold {
    const { head, settings, world } = this.#parts;
    const before = follower.takenBytes;
    return new Hold({
      world,
      held: () => head.offset - reader.position.offset + reader.heldBytes(),
      taken: () => follower.takenBytes - before,
      limits: { hard: () => Math.max(settings.followerOutputBytes, head.backlog.size) },
      othersWait: () => this.#large.some(isWanted),
      end: (code, detail) => this.#parts.tooSlow(follower, code, detail),
    });
  }

  #synced(follower: Follower, at: Position): void {
    follower.tell(syncedMessage(formatPosition(at)));
    this.#parts.synced(follower);
  }

  #turn(): Promise<void> {
    return new Promise((resolve) => this.#parts.world.soon(resolve));
  }

  #roomOf(follower: Follower): Promise<void> {
    return new Promise((resolve) => this.#room.set(follower, resolve));
  }
}

/** The entries in order, in parts that are made in one turn: a large one stands alone. */
function* parts(group: readonly ListedEntry[]): Generator<readonly ListedEntry[]> {
  let first = 0;
  for (const [index, { size }] of group.entries()) {
    if (size < LARGE_ENTRY_BYTES) continue;
    if (first < index) yield group.slice(first, index);
    yield [group[index] as ListedEntry];
    first = index + 1;
  }
  if (first < group.length) yield group.slice(first);
}

function isWanted({ follower, number }: Waiting): boolean {
  return follower.needsSnapshot && follower.snapshot === number;
}
