/**
 * Counts the memory of large messages until the sockets of followers have taken them. Each message counts once, whatever the
 * number of its followers, for the client whose follower got it first of those that still hold it. Without a limit, each set of prefixes
 * could keep a message of its own of one large write. Each client may have a share of what the others leave, so that its followers
 * cannot keep the large messages of others away.
 */
import { Shares } from '../../client-places.ts';
import type { Frames } from '../messages/frames.ts';
import type { Message } from '../messages/message.ts';

/**
 * Largest number of characters of all large messages that wait in sockets; the message that reaches the share of a client may exceed
 * it. At its share, the followers of a client wait for their next large message until others have been taken.
 */
export const MAX_QUEUED_CHARACTERS = 128 * 1024 * 1024;
/** Size in bytes from which a message, or the part of the stream that it is made of, is large. */
export const LARGE_STREAM_BYTES = 256 * 1024;

type Queued = Message | Frames;

/** What receives messages, and the name of its client. */
export interface Receiver {
  readonly socket: { readonly client: string };
}

interface Held {
  readonly queued: Queued;
  /** Begin of the wait, in milliseconds of the monotonic clock. */
  readonly since: number;
}

/** Who holds a message. */
interface Holders<Holder> {
  /** The client for which the message counts. */
  client: string;
  /** The clients of the holders, in order of arrival. */
  readonly clients: Map<Holder, string>;
}

/** @typeParam Holder receiver of the messages */
export class QueuedMessages<Holder extends Receiver> {
  readonly #holders = new Map<Queued, Holders<Holder>>();
  readonly #held = new Map<Holder, Held[]>();
  // How long the messages of others are tells how long values are as JSON.
  readonly #characters = new Shares(() => MAX_QUEUED_CHARACTERS, 'coarsely');

  /** Whether the sockets of the client have room for another large message. */
  hasRoom(client: string): boolean {
    return this.#characters.of(client) < this.#characters.most(client);
  }

  /** Whether these frames count for the client already, so that another of its followers may get them. */
  counts(client: string, frames: Frames): boolean {
    return this.#holders.get(queuedOf(frames))?.client === client;
  }

  /** Whether large messages count for the client. */
  has(client: string): boolean {
    return this.#characters.of(client) > 0;
  }

  /** Counts frames of which the holder's socket has taken only a part. @param now milliseconds of the monotonic clock */
  hold(holder: Holder, frames: Frames, now: number): void {
    if (frames.size < LARGE_STREAM_BYTES) return;
    const queued = queuedOf(frames);
    const held = this.#held.get(holder);
    if (held === undefined) this.#held.set(holder, [{ queued, since: now }]);
    else held.push({ queued, since: now });
    const { client } = holder.socket;
    const holders = this.#holders.get(queued);
    if (holders !== undefined) {
      holders.clients.set(holder, client);
      return;
    }
    this.#holders.set(queued, { client, clients: new Map([[holder, client]]) });
    this.#characters.add(client, sizeOf(queued));
  }

  /** Stops counting for a holder whose socket has taken everything or has closed. @returns whether a client may have got room */
  release(holder: Holder): boolean {
    const held = this.#held.get(holder);
    if (held === undefined) return false;
    for (const { queued } of held) this.#letGo(holder, queued);
    this.#held.delete(holder);
    return true;
  }

  /** @returns time since which a large message waits in the holder's socket, in milliseconds of the monotonic clock; null: none waits */
  heldSince(holder: Holder): number | null {
    return this.#held.get(holder)?.[0]?.since ?? null;
  }

  #letGo(holder: Holder, queued: Queued): void {
    const holders = this.#holders.get(queued);
    if (holders?.clients.delete(holder) !== true) return;
    const [next] = holders.clients.values();
    if (next === undefined) this.#holders.delete(queued);
    if (next === holders.client) return;
    this.#characters.add(holders.client, -sizeOf(queued));
    if (next === undefined) return;
    holders.client = next;
    this.#characters.add(next, sizeOf(queued));
  }
}

/** @returns what followers share: the message, and not its frames, if there is only one */
function queuedOf(frames: Frames): Queued {
  const { messages } = frames;
  return messages.length === 1 ? (messages[0] as Message) : frames;
}

function sizeOf(queued: Queued): number {
  return 'json' in queued ? queued.json.length : queued.size;
}
