/** Part of the stream, as the followers of a subscription see it. */
import { type Offset, offset } from '../replication/position.ts';
import { StreamDecoder } from '../stream/decoder.ts';
import { Frames } from './frames.ts';
import { forEachGroup, Group, type Message } from './message.ts';
import type { StreamHead } from './stream-head.ts';
import type { Subscription } from './subscription.ts';

export interface Stretch {
  readonly from: Offset;
  readonly to: Offset;
  readonly frames: Frames;
  /** How far its last message tells that the stream is; null: it has none. */
  readonly told: Offset | null;
}

/** So much of the stream is read at a time for one that catches up. */
const STRETCH_BYTES = 64 * 1024;

/**
 * What follows `from`, up to where the subscription's live followers are at most.
 * @throws StorageError when the journal cannot be read
 */
export function readStretch(head: StreamHead, subscription: Subscription, from: Offset): Stretch {
  const lacking = subscription.at - from;
  for (let wanted = STRETCH_BYTES; ; wanted *= 4) {
    const bytes = head.read(from, Math.min(wanted, lacking)).subarray(0, lacking);
    const run = new StreamDecoder().push(bytes);
    if (run === null && bytes.length < lacking) continue;
    if (run === null) throw new Error(`no write ends between ${from} and ${subscription.at}`);
    const messages: Message[] = [];
    let told: Offset | null = null;
    forEachGroup(run, (range) => {
      const group = new Group(run, from, head.position.runId, range);
      const message = group.messageFor(subscription.prefixes);
      if (message === null) return;
      messages.push(message);
      told = group.end;
    });
    return { from, to: offset(from + run.bytes.length), frames: new Frames(messages), told };
  }
}
