/**
 * Counts the memory of large messages until the sockets of followers have taken them. Each message counts once, whatever the
 * number of its followers. Without a limit, each set of prefixes could keep a message of its own of one large write.
 */
import type { Frames } from './frames.ts';
import type { Message } from './message.ts';

/**
 * Largest number of characters of all large messages that wait in sockets. At the limit, followers wait for their next large
 * message until others have taken theirs.
 */
export const MAX_QUEUED_CHARACTERS = 128 * 1024 * 1024;
/** Size in bytes from which a message, or the part of the stream that it is made of, is large. */
export const LARGE_STREAM_BYTES = 256 * 1024;

type Queued = Message | Frames;

interface Held {
  readonly queued: Queued;
  /** Begin of the wait, in milliseconds of the monotonic clock. */
  readonly since: number;
}

/** @typeParam Holder receiver of the messages */
export class QueuedMessages<Holder> {
  readonly #holders = new Map<Queued, Set<Holder>>();
  readonly #held = new Map<Holder, Held[]>();
  #characters = 0;

  /** Whether the sockets have room for another large message. */
  get hasRoom(): boolean {
    return this.#characters < MAX_QUEUED_CHARACTERS;
  }

  /** Counts frames of which the holder's socket has taken only a part. @param now milliseconds of the monotonic clock */
  hold(holder: Holder, frames: Frames, now: number): void {
    if (frames.size < LARGE_STREAM_BYTES) return;
    const { messages } = frames;
    // Other followers share the message, but not the frames.
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

  /** Stops counting for a holder whose socket has taken everything or has closed. */
  release(holder: Holder): void {
    for (const { queued } of this.#held.get(holder) ?? []) {
      const holders = this.#holders.get(queued);
      if (holders?.delete(holder) !== true || holders.size > 0) continue;
      this.#holders.delete(queued);
      this.#characters -= sizeOf(queued);
    }
    this.#held.delete(holder);
  }

  /** @returns time since which a large message waits in the holder's socket, in milliseconds of the monotonic clock; null: none waits */
  heldSince(holder: Holder): number | null {
    return this.#held.get(holder)?.[0]?.since ?? null;
  }
}

function sizeOf(queued: Queued): number {
  return 'json' in queued ? queued.json.length : queued.size;
}
