/**
 * Snapshots for followers: the entries of their prefixes at one position.
 *
 * Owns: the followers that wait for a snapshot. The feed collects few entries in memory and sends them at once to all
 * followers with the same prefixes. Large snapshots come after the small ones: a few readers at a time read the keyspace file,
 * each at the pace of its follower's socket, with one group of entries in memory. So a thousand followers that come together
 * cost little more than one.
 *
 * An entry belongs to the snapshot until the stream has its DEL, even if it has expired. So a position means the same snapshot
 * on every node, whatever its clock says, and the next command of the stream finds the entry there.
 */

import type { ListedEntry } from '../../../keyspace/page.ts';
import type { CloseCode } from '../../../replication/close-code.ts';
import type { FullResyncReason } from '../../../replication/decide.ts';
import { formatPosition, type Offset, type Position } from '../../../replication/position.ts';
import { ClientPlaces } from '../../client-places.ts';
import type { StreamHead } from '../../head/stream-head.ts';
import { countedGrowth, Hold } from '../../hold.ts';
import type { EntryReader } from '../../ports/keyspace.ts';
import type { World } from '../../ports/world.ts';
import { Turns } from '../../turns.ts';
import { unattended } from '../../unattended.ts';
import { Frames } from '../messages/frames.ts';
import { entryMessage, resetMessage, syncedMessage } from '../messages/message.ts';
import { type Follower, HIGH_WATER_BYTES } from './follower.ts';

/** Largest number of entries of a snapshot that the feed collects in memory. */
const SMALL_ENTRIES = 1_000;
/** Largest number of bytes of values of a snapshot that the feed collects in memory, by estimate. */
const SMALL_BYTES = HIGH_WATER_BYTES;
/** Size of an entry's value, in bytes, from which the feed sends the entry alone. */
const LARGE_ENTRY_BYTES = 256 * 1024;
/** Largest number of readers of the keyspace file at the same time; each of them keeps the WAL from shrinking. */
const MAX_READERS = 4;
/** Largest number of these readers for one client, so that the followers of others need not wait for its own. */
const MAX_CLIENT_READERS = 2;

interface Waiting {
  readonly follower: Follower;
  /** Number of the snapshot that the follower asked for. */
  readonly number: number;
}

interface SnapshotsParts {
  readonly world: World;
  readonly head: StreamHead;
  /** Called before the feed sends the entries of this offset; the journal has to keep the stream after it. */
  begun(follower: Follower, at: Offset): void;
  /** Called when the feed has sent the follower its snapshot. */
  synced(follower: Follower): void;
  /** Called when the store cannot read the snapshot. */
  failed(follower: Follower, error: unknown): void;
  /** Called when the follower takes its snapshot too slowly, so that the feed must close it. */
  tooSlow(follower: Follower, code: CloseCode, detail: string): void;
  readonly settings: {
    /** Bytes that a reader may hold on the disk beyond the credit of what its follower has taken (hold.ts). */
    readonly followerOutputBytes: number;
  };
}

export class FollowerSnapshots {
  readonly #parts: SnapshotsParts;
  /** Followers whose snapshot may be small, by client, in the order in which the clients have their turns, and by the ID of their prefixes. */
  readonly #small = new Map<string, Map<string, Waiting[]>>();
  #serving = false;
  #large: Waiting[] = [];
  /** The readers of the keyspace file. */
  readonly #places = new ClientPlaces(
    () => MAX_READERS,
    () => MAX_CLIENT_READERS,
  );
  /** Continues the reader of each follower whose socket is full. */
  readonly #room = new Map<Follower, () => void>();

  constructor(parts: SnapshotsParts) {
    this.#parts = parts;
  }

  /** Queues a snapshot for the follower; the feed sends it nothing else before the end of the snapshot. */
  begin(follower: Follower, reason: FullResyncReason): void {
    follower.awaitSnapshot(reason);
    // Wakes a reader of an earlier snapshot, which then stops.
    this.wake(follower);
    const waiting: Waiting = { follower, number: follower.snapshot };
    const { id } = follower.request.prefixes;
    const { client } = follower.socket;
    const own = this.#small.get(client) ?? new Map<string, Waiting[]>();
    this.#small.set(client, own);
    const same = own.get(id);
    if (same === undefined) own.set(id, [waiting]);
    else same.push(waiting);
    if (!this.#serving) unattended(this.#serveSmall(), (error) => this.#parts.failed(follower, error));
  }

  /** Continues a reader that waits for the follower's socket, because the socket has drained or closed. */
  wake(follower: Follower): void {
    this.#room.get(follower)?.();
    this.#room.delete(follower);
  }

  async #serveSmall(): Promise<void> {
    this.#serving = true;
    try {
      for (;;) {
        await this.#turn();
        if (this.#small.size === 0) break;
        await this.#serveTogether(this.#takeSmall().filter(isWanted));
      }
    } finally {
      this.#serving = false;
    }
  }

  /** Removes the followers of one client that wait for the same snapshot, and those of other clients with the same prefixes. */
  #takeSmall(): readonly Waiting[] {
    const [[client, own] = ['', new Map<string, Waiting[]>()]] = this.#small;
    const [id = ''] = own.keys();
    // Others have their turn before the client's next snapshot.
    this.#small.delete(client);
    this.#small.set(client, own);
    const taken: Waiting[] = [];
    for (const [each, waiting] of this.#small) {
      taken.push(...(waiting.get(id) ?? []));
      waiting.delete(id);
      if (waiting.size === 0) this.#small.delete(each);
    }
    return taken;
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
    while (this.#places.total < MAX_READERS) {
      this.#large = this.#large.filter(isWanted);
      const at = this.#large.findIndex(
        ({ follower }) => this.#places.refusal(follower.socket.client) === null,
      );
      const [next] = at === -1 ? [] : this.#large.splice(at, 1);
      if (next === undefined) return;
      this.#startReading(next);
    }
  }

  #startReading(waiting: Waiting): void {
    const giveBack = this.#places.take(waiting.follower.socket.client);
    this.#read(waiting)
      .catch((error: unknown) => {
        if (isWanted(waiting)) this.#parts.failed(waiting.follower, error);
      })
      .finally(() => {
        giveBack();
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
      held: () => {
        const written = head.offset - reader.position.offset;
        return written + countedGrowth(written, reader.heldBytes());
      },
      taken: () => follower.takenBytes - before,
      limits: { hard: () => Math.max(settings.followerOutputBytes, head.backlog.size) },
      othersWait: () => this.#large.some((each) => isWanted(each) && this.#waitsFor(follower, each)),
      end: (code, detail) => this.#parts.tooSlow(follower, code, detail),
    });
  }

  /** Whether the waiting follower waits for the end of this one's reader: not if its own client has its share of readers. */
  #waitsFor({ socket: { client } }: Follower, { follower: { socket } }: Waiting): boolean {
    return socket.client === client || this.#places.of(socket.client) < MAX_CLIENT_READERS;
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

/** Splits the entries, in order, into parts that one turn makes into messages; a large entry stands alone. */
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

/** Whether the follower still waits for this snapshot, and not for a later one. */
function isWanted({ follower, number }: Waiting): boolean {
  return follower.needsSnapshot && follower.snapshot === number;
}
