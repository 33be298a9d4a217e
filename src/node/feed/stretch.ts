/** Part of the stream, decoded once for all who catch up, whatever their prefixes. */
import { type Offset, offset, type RunId } from '../../replication/position.ts';
import type { Run } from '../../stream/command.ts';
import { StreamDecoder } from '../../stream/decoder.ts';
import type { StreamHead } from '../head/stream-head.ts';
import { Frames } from './frames.ts';
import { firstNotBefore, KeySearch } from './key-search.ts';
import { forEachGroup, Group, type Message } from './message.ts';
import type { Subscription } from './subscription.ts';

/** What a follower is given of a stretch. */
export interface Portion {
  /** It covers what was written behind `after`, up to and including `to`. */
  readonly after: Offset;
  readonly to: Offset;
  readonly frames: Frames;
  /** How far its last message tells that the stream is; null: it has none. */
  readonly told: Offset | null;
}

/** So much of the stream is decoded at a time, in bytes; a larger write is decoded as a whole. */
export const STRETCH_BYTES = 64 * 1024;
/** About how many bytes of memory a stretch takes beside the bytes of the stream, and each of its keys. */
const MEMORY_OF_STRETCH = 1_024;
const MEMORY_OF_KEY = 256;
/** A message that a group keeps is text, and text in the framing of a transport. */
const COPIES_OF_MESSAGE = 2;
const NOTHING = new Frames([]);

export class Stretch {
  /** Half open, counted like offsets: it has what was written behind `from`, up to and including `to`. */
  readonly from: Offset;
  readonly to: Offset;
  readonly #groups: readonly Group[];
  /** Where positions may stop, in order, the last one at its end; counted from the start of the stream. */
  readonly #boundaries: readonly number[];
  readonly #search: KeySearch;
  /** Of each key that is searched: which of the groups has it. */
  readonly #groupOf: readonly number[];
  /** What the followers of a subscription were given last: those who are at the same place share it. */
  readonly #portions = new Map<Subscription, Portion>();
  #memory: number;
  /** Of this, what the messages take that the groups keep. */
  #messageMemory: number;

  private constructor(
    from: Offset,
    boundaries: readonly number[],
    groups: readonly Group[],
    messageMemory: number,
  ) {
    this.from = from;
    this.to = offset(boundaries[boundaries.length - 1] ?? from);
    this.#groups = groups;
    this.#boundaries = boundaries;
    this.#messageMemory = messageMemory;
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
    this.#memory = MEMORY_OF_STRETCH + this.bytes + MEMORY_OF_KEY * keys.length + messageMemory;
  }

  /** @param run what was committed behind `from` by the history with this run ID */
  static decoded(run: Run, from: Offset, runId: RunId): Stretch {
    const groups: Group[] = [];
    forEachGroup(run, (range) => groups.push(new Group(run, from, runId, range)));
    const boundaries = run.boundaries.map((at) => from + at);
    return new Stretch(from, boundaries, groups, 0);
  }

  /** How many bytes of the stream it has. */
  get bytes(): number {
    return this.to - this.from;
  }

  /** About how many bytes of memory it takes. */
  get memory(): number {
    return this.#memory;
  }

  /** Whether a position may stop at this place in the stretch: not inside a write. */
  isBoundary(at: Offset): boolean {
    return this.#boundaries[firstNotBefore(this.#boundaries, at)] === at;
  }

  /** @returns one stretch instead of this one and the one that follows it */
  joinedWith(next: Stretch): Stretch {
    const messageMemory = this.#messageMemory + next.#messageMemory;
    const boundaries = [...this.#boundaries, ...next.#boundaries];
    return new Stretch(this.from, boundaries, [...this.#groups, ...next.#groups], messageMemory);
  }

  /** What another follower of the subscription has been given of it at this place; null: nobody has. */
  sharedPortion(subscription: Subscription, after: Offset, upTo: Offset): Portion | null {
    const known = this.#portions.get(subscription);
    if (known === undefined || known.after !== after) return null;
    return known.to === Math.min(this.to, upTo) ? known : null;
  }

  /**
   * Puts together what the subscription's followers lack of it.
   * @param after they have everything up to here, a place in the stretch
   * @param upTo and are to have nothing behind here, a boundary
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

  /** @param characters how many more the messages have that the groups keep */
  #countMessages(characters: number): void {
    this.#memory += COPIES_OF_MESSAGE * characters;
    this.#messageMemory += COPIES_OF_MESSAGE * characters;
  }

  #keep(subscription: Subscription, portion: Portion): void {
    const before = this.#portions.get(subscription);
    if (before !== undefined) this.#memory -= before.frames.size;
    this.#memory += portion.frames.size;
    this.#portions.set(subscription, portion);
  }
}

/**
 * What follows `from`.
 * @param upTo but nothing behind here, a boundary
 * @throws StorageError when the journal cannot be read
 */
export function readStretch(head: StreamHead, from: Offset, upTo: Offset): Stretch {
  const lacking = upTo - from;
  for (let wanted = STRETCH_BYTES; ; wanted *= 4) {
    const bytes = head.read(from, Math.min(wanted, lacking)).subarray(0, lacking);
    const run = new StreamDecoder().push(bytes);
    if (run === null && bytes.length < lacking) continue;
    if (run === null) throw new Error(`no write ends between ${from} and ${upTo}`);
    return Stretch.decoded(run, from, head.position.runId);
  }
}
