/**
 * Fills a backlog of another size from the backlog before and the journal, in the background and a few milliseconds at a
 * time. Clients may write meanwhile; the old backlog serves replicas until the new one is complete.
 */
import { Backlog } from '../../replication/backlog.ts';
import { type Offset, offset } from '../../replication/position.ts';
import { StorageError } from '../ports/failures.ts';
import type { World } from '../ports/world.ts';
import { restAfter, Turns } from '../turns.ts';
import { REPLAY_BYTES } from './recovery.ts';
import type { StreamHead } from './stream-head.ts';

/** @returns the bytes after `at`; where to go on, at most where the present backlog begins, if the journal is damaged there */
function readOrSkip(head: Pick<StreamHead, 'backlog' | 'damagedUpTo' | 'read'>, at: Offset): Buffer | Offset {
  try {
    return head.read(at, REPLAY_BYTES);
  } catch (error) {
    if (!(error instanceof StorageError && error.damaged)) throw error;
    return offset(Math.min(head.damagedUpTo ?? Number.POSITIVE_INFINITY, head.backlog.firstOffset - 1));
  }
}

/**
 * Fills a new backlog. It begins behind the last damaged row of the journal.
 * @param size size of the new backlog, in bytes
 * @param from the first byte after this offset is the oldest that the new backlog gets
 * @param isWanted asked after each rest: whether somebody still needs the new backlog
 * @param takeOver puts the new backlog in place, in the same step in which it becomes complete
 * @returns whether the new backlog took over; false: nobody needs it any more
 * @throws StorageError when the journal cannot be read, RangeError when there is no memory
 */
export async function refillBacklog(
  world: World,
  head: Pick<StreamHead, 'backlog' | 'damagedUpTo' | 'offset' | 'read' | 'pin'>,
  size: number,
  from: Offset,
  isWanted: () => boolean,
  takeOver: (backlog: Backlog) => void,
): Promise<boolean> {
  let at = from;
  let backlog = new Backlog(size, at);
  const unpin = head.pin(() => at);
  try {
    for (;;) {
      const turns = new Turns(world);
      const startedAt = world.monotonic();
      while (at < head.offset && !turns.isOver) {
        const bytes = readOrSkip(head, at);
        if (typeof bytes === 'number') {
          at = bytes;
          backlog = new Backlog(size, at);
          continue;
        }
        backlog.append(bytes);
        at = offset(at + bytes.length);
      }
      if (at === head.offset) {
        takeOver(backlog);
        return true;
      }
      const restMs = restAfter(world.monotonic() - startedAt);
      await new Promise<void>((resolve) => world.after(restMs, resolve));
      if (!isWanted()) return false;
    }
  } finally {
    unpin();
  }
}
