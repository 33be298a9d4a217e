/**
 * What large messages take in memory until the sockets of followers have taken them: each counts once, however many
 * followers it was given to. Without a limit, each choice of prefixes could keep a message of its own of one large write.
 */
import type { Frames } from './frames.ts';
import type { Message } from './message.ts';

/**
 * While the large messages that wait in sockets have so many characters together, no follower is given another one: it
 * waits until others have taken theirs.
 */
export const MAX_QUEUED_CHARACTERS = 128 * 1024 * 1024;
/** What is made of so many bytes of the stream, or more, is large. */
export const LARGE_STREAM_BYTES = 256 * 1024;

type Queued = Message | Frames;

interface Held {
  readonly queued: Queued;
  /** In milliseconds of the monotonic clock. */
  readonly since: number;
}

/** @typeParam Holder who was given the messages */
export class QueuedMessages<Holder> {
  readonly #holders = new Map<Queued, Set<Holder>>();
  readonly #held = new Map<Holder, Held[]>();
  #characters = 0;

  /** Whether another large message may be given. */
  get hasRoom(): boolean {
    return this.#characters < MAX_QUEUED_CHARACTERS;
  }

  /** The holder's socket has taken only a part of the frames. @param now milliseconds of the monotonic clock */
  hold(holder: Holder, frames: Frames, now: number): void {
    if (frames.size < LARGE_STREAM_BYTES) return;
    const { messages } = frames;
    // Others share the message, though their frames are others.
    const queued = messages.length === 1 ? (messages[0] as Message) : frames;
    const held = this.#held.get(holder);
    if (held === undefined) this.#held.set(holder, [{ queued, since: now }]);
    else held.push({ queued, since: now });
    const holders = this.#holders.get(queued);
    if (holders !== undefined) {
      holders.add(holder);
      return;
    }
    this.#holders.set(queued, new Set([holder]));
    this.#characters += sizeOf(queued);
  }

  /** The holder's socket has taken everything, or it has gone. */
  release(holder: Holder): void {
    for (const { queued } of this.#held.get(holder) ?? []) {
      const holders = this.#holders.get(queued);
      if (holders?.delete(holder) !== true || holders.size > 0) continue;
      this.#holders.delete(queued);
      this.#characters -= sizeOf(queued);
    }
    this.#held.delete(holder);
  }

  /** Since when the holder has what it has not taken, in milliseconds of the monotonic clock; null: it has nothing. */
  heldSince(holder: Holder): number | null {
    return this.#held.get(holder)?.[0]?.since ?? null;
  }
}

function sizeOf(queued: Queued): number {
  return 'json' in queued ? queued.json.length : queued.size;
}
