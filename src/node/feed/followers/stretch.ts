/** A stretch: a part of the stream that the feed decodes once for all followers that catch up, whatever their prefixes. */
import { type Offset, offset, type RunId } from '../../../replication/position.ts';
import type { Run } from '../../../stream/command.ts';
import { StreamDecoder } from '../../../stream/decoder.ts';
import type { StreamHead } from '../../head/stream-head.ts';
import { Frames } from '../messages/frames.ts';
import { KeySearch } from '../messages/key-search.ts';
import { forEachGroup, Group, type Message } from '../messages/message.ts';
import type { Subscription } from './subscription.ts';

/** The part of a stretch that the feed sends a follower. */
export interface Portion {
  /** The portion covers the writes that end after `after`, up to and including `to`. */
  readonly after: Offset;
  readonly to: Offset;
  readonly frames: Frames;
  /** Position of its last message; null: it has no message. */
  readonly told: Offset | null;
}

/** Bytes of the stream in one stretch; a larger write makes one stretch of its own. */
export const STRETCH_BYTES = 64 * 1024;
/** Largest part of a larger write that is read from the backlog at a time, in bytes. */
const MAX_PIECE_BYTES = 1024 * 1024;
/** Bytes of memory that a stretch takes beside its part of the stream, by estimate. */
const MEMORY_OF_STRETCH = 1_024;
/** Bytes of memory that each key of a stretch takes, by estimate. */
const MEMORY_OF_KEY = 256;
/** Copies of a message that a group keeps: its JSON, and its frame for a transport. */
const COPIES_OF_MESSAGE = 2;
const NOTHING = new Frames([]);

export class Stretch {
  /** The stretch holds the writes that end after `from`, up to and including `to`. */
  readonly from: Offset;
  readonly to: Offset;
  readonly #groups: readonly Group[];
  /** Offsets at which a position may stop, in order; the last one is the end of the stretch. */
  readonly #boundaries: readonly number[];
  readonly #search: KeySearch;
  /** Index of the group of each key in the search. */
  readonly #groupOf: readonly number[];
  /** Last portion of each subscription; its followers at the same place share it. */
  readonly #portions = new Map<Subscription, Portion>();
  /**
   * Bytes of memory that the stretch takes without messages, by estimate. It depends on its part of the stream alone: when the feed drops
   * a stretch, and where the next one begins, tells nobody what messages the followers of others get.
   */
  readonly memory: number;
  /** Bytes of memory that the kept messages of the groups take. */
  #groupMemory: number;
  /** Bytes of memory that the kept portions take. */
  #portionMemory = 0;

  private constructor(
    from: Offset,
    boundaries: readonly number[],
    groups: readonly Group[],
    groupMemory: number,
  ) {
    this.from = from;
    this.to = offset(boundaries[boundaries.length - 1] ?? from);
    this.#groups = groups;
    this.#boundaries = boundaries;
    this.#groupMemory = groupMemory;
    const keys: (string | null)[] = [];
    const groupOf: number[] = [];
    for (const [index, group] of groups.entries()) {
      for (const key of group.keys) {
        keys.push(key);
        groupOf.push(index);
      }
    }
    this.#search = new KeySearch(keys);
    this.#groupOf = groupOf;
    this.memory = MEMORY_OF_STRETCH + this.bytes + MEMORY_OF_KEY * keys.length;
  }

  /** @param run the writes after the offset `from` @param runId run ID of the history, for the positions in messages */
  static decoded(run: Run, from: Offset, runId: RunId): Stretch {
    const groups: Group[] = [];
    forEachGroup(run, (range) => groups.push(new Group(run, from, runId, range)));
    const boundaries = run.boundaries.map((at) => from + at);
    return new Stretch(from, boundaries, groups, 0);
  }

  /** Bytes of the stream in the stretch. */
  get bytes(): number {
    return this.to - this.from;
  }

  /** Bytes of memory that the messages take which the stretch keeps for other followers, by estimate. */
  get messageMemory(): number {
    return this.#groupMemory + this.#portionMemory;
  }

  /** Drops the messages. They are made again if a follower needs them. */
  forgetMessages(): void {
    for (const group of this.#groups) group.forget();
    this.#portions.clear();
    this.#groupMemory = 0;
    this.#portionMemory = 0;
  }

  /** @returns one stretch instead of this one and the one that follows it */
  joinedWith(next: Stretch): Stretch {
    const groupMemory = this.#groupMemory + next.#groupMemory;
    const boundaries = [...this.#boundaries, ...next.#boundaries];
    return new Stretch(this.from, boundaries, [...this.#groups, ...next.#groups], groupMemory);
  }

  /** @returns the portion that another follower of the subscription got at this place; null: there is none */
  sharedPortion(subscription: Subscription, after: Offset, upTo: Offset): Portion | null {
    const known = this.#portions.get(subscription);
    if (known === undefined || known.after !== after) return null;
    return known.to === Math.min(this.to, upTo) ? known : null;
  }

  /**
   * Makes a portion for followers of the subscription.
   * @param after place in the stretch up to which they have everything
   * @param upTo boundary at which the portion ends at the latest
   */
  portion(subscription: Subscription, after: Offset, upTo: Offset): Portion {
    const to = offset(Math.min(this.to, upTo));
    const messages: Message[] = [];
    let told: Offset | null = null;
    let last = -1;
    for (const key of this.#search.find(subscription.prefixes)) {
      const index = this.#groupOf[key] as number;
      const group = this.#groups[index] as Group;
      if (index === last || group.end <= after || group.end > to) continue;
      last = index;
      const had = group.kept;
      const message = group.messageFor(subscription.prefixes);
      if (message === null) continue;
      if (group.kept !== had) this.#countMessages((group.kept?.json.length ?? 0) - (had?.json.length ?? 0));
      messages.push(message);
      told = group.end;
    }
    const frames = messages.length === 0 ? NOTHING : new Frames(messages);
    const portion: Portion = { after, to, frames, told };
    if (messages.length > 0 && subscription.members.size > 1) this.#keep(subscription, portion);
    return portion;
  }

  /** Corrects the estimate of memory. @param characters number by which the messages that the groups keep have grown */
  #countMessages(characters: number): void {
    this.#groupMemory += COPIES_OF_MESSAGE * characters;
  }

  #keep(subscription: Subscription, portion: Portion): void {
    const before = this.#portions.get(subscription);
    this.#portionMemory += portion.frames.size - (before?.frames.size ?? 0);
    this.#portions.set(subscription, portion);
  }
}

/**
 * Reads and decodes the stretch that follows `from`.
 * @param upTo boundary at which the stretch ends at the latest
 * @throws StorageError when the store cannot read the journal
 */
export function readStretch(head: StreamHead, from: Offset, upTo: Offset): Stretch {
  const decoder = new StreamDecoder();
  let wanted = STRETCH_BYTES;
  for (let at = from; at < upTo; wanted = Math.min(4 * wanted, MAX_PIECE_BYTES)) {
    const bytes = head.read(at, Math.min(wanted, upTo - at)).subarray(0, upTo - at);
    const run = decoder.push(bytes);
    if (run !== null) return Stretch.decoded(run, from, head.position.runId);
    at = offset(at + bytes.length);
  }
  throw new Error(`no write ends between ${from} and ${upTo}`);
}
