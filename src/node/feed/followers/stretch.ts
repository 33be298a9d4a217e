/**
 * A stretch: a part of the stream that the feed decodes once for all followers that catch up, whatever their prefixes.
 *
 * The stream is divided into *blocks* of `STRETCH_BYTES`, counted from its begin. A follower whose cursor is in a block gets all that
 * follows it in this block in one portion, up to the first end of a write at or after the end of the block, or up to the head. So where its
 * portions end depends on the stream, its own cursor and the head alone. It must not depend on what other followers have read, on
 * what the feed keeps, or on the rows of the journal: where others resume tells which writes are under their prefixes.
 */
import { type Offset, offset } from '../../../replication/position.ts';
import { Frames } from '../messages/frames.ts';
import type { Message } from '../messages/message.ts';
import type { Segment } from './segment.ts';
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

/** Bytes of the stream in one block. A stretch may have more, because the write at the end of its block belongs to it. */
export const STRETCH_BYTES = 64 * 1024;
/** Bytes of memory that each segment takes beside its part of the stream, by estimate. */
const MEMORY_OF_SEGMENT = 1_024;
/** Bytes of memory that each key of a stretch takes, by estimate. */
const MEMORY_OF_KEY = 256;
/** Copies of a message that a group keeps: its JSON, and its frame for a transport. */
const COPIES_OF_MESSAGE = 2;
const NOTHING = new Frames([]);

/** @returns the number of the block with the byte after `after` */
export function blockOf(after: Offset): number {
  return Math.floor(after / STRETCH_BYTES);
}

export class Stretch {
  /** End of its block. */
  readonly blockEnd: Offset;
  /** At least one. Each follows the one before it in the stream. */
  readonly #segments: Segment[];
  /** Last portion of each subscription; its followers at the same place share it. */
  readonly #portions = new Map<Subscription, Portion>();
  /** Bytes of memory that the kept messages of the groups take. */
  #groupMemory = 0;
  /** Bytes of memory that the kept portions take. */
  #portionMemory = 0;

  /** @param first segment that begins in the block of the stretch */
  constructor(first: Segment) {
    this.blockEnd = offset((blockOf(first.from) + 1) * STRETCH_BYTES);
    this.#segments = [first];
  }

  /** The stretch holds the writes that end after `from`, up to and including `to`. */
  get from(): Offset {
    return (this.#segments[0] as Segment).from;
  }

  get to(): Offset {
    return (this.#segments[this.#segments.length - 1] as Segment).to;
  }

  /** Number of segments: it grows with the logarithm of the number of additions. */
  get segments(): number {
    return this.#segments.length;
  }

  /** Whether the stretch has no end yet, because the head is in its block, or was when the stretch was read. */
  get isOpen(): boolean {
    return this.to < this.blockEnd;
  }

  /** Bytes of memory that the stretch takes without messages, by estimate. What the feed drops by it changes no portion. */
  get memory(): number {
    let memory = 0;
    for (const { bytes, keys } of this.#segments) memory += MEMORY_OF_SEGMENT + bytes + MEMORY_OF_KEY * keys;
    return memory;
  }

  /** Bytes of memory that the messages take which the stretch keeps for other followers, by estimate. */
  get messageMemory(): number {
    return this.#groupMemory + this.#portionMemory;
  }

  /** Drops the messages. They are made again if a follower needs them. */
  forgetMessages(): void {
    for (const { groups } of this.#segments) for (const group of groups) group.forget();
    this.#portions.clear();
    this.#groupMemory = 0;
    this.#portionMemory = 0;
  }

  /** Adds the writes before the stretch. @param segment ends where the stretch begins */
  prepend(segment: Segment): void {
    if (segment.to !== this.from) throw new Error(`no write ends at ${this.from}, but at ${segment.to}`);
    this.#segments.unshift(segment);
    this.#join('begin');
  }

  /** Adds the writes after the stretch. @param segment begins where the stretch ends */
  append(segment: Segment): void {
    this.#segments.push(segment);
    this.#join('end');
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
   * @param upTo offset where a write ends, at which the portion ends at the latest
   */
  portion(subscription: Subscription, after: Offset, upTo: Offset): Portion {
    const to = offset(Math.min(this.to, upTo));
    const { prefixes } = subscription;
    const messages: Message[] = [];
    let told: Offset | null = null;
    for (const segment of this.#segments) {
      if (segment.to <= after || segment.from >= to) continue;
      segment.forEachOf(prefixes, (group) => {
        if (group.end <= after || group.end > to) return;
        const had = group.kept;
        const message = group.messageFor(prefixes);
        if (message === null) return;
        const { kept } = group;
        if (kept !== had) this.#countMessages((kept?.json.length ?? 0) - (had?.json.length ?? 0));
        messages.push(message);
        told = group.end;
      });
    }
    const frames = messages.length === 0 ? NOTHING : new Frames(messages);
    const portion: Portion = { after, to, frames, told };
    if (messages.length > 0 && subscription.members.size > 1) this.#keep(subscription, portion);
    return portion;
  }

  /**
   * Joins the segment at the begin or the end with its neighbours that are not much longer. While others write, each new segment is
   * short: so a search goes through few segments, and each write is seldom joined.
   */
  #join(where: 'begin' | 'end'): void {
    const segments = this.#segments;
    while (segments.length > 1) {
      const first = where === 'begin' ? 0 : segments.length - 2;
      const [one, other] = segments.slice(first, first + 2) as [Segment, Segment];
      const [added, neighbour] = where === 'begin' ? [one, other] : [other, one];
      if (neighbour.bytes > 2 * added.bytes) return;
      segments.splice(first, 2, one.joinedWith(other));
    }
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
