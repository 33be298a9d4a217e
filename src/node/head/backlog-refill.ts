/**
 * Fills a backlog of another size from the backlog before and the journal, in the background and a few milliseconds at a
 * time. Clients may write meanwhile; the old backlog serves replicas until the new one is complete.
 */
import { Backlog } from '../../replication/backlog.ts';
import { type Offset, offset } from '../../replication/position.ts';
import type { World } from '../ports/world.ts';
import { restAfter, Turns } from '../turns.ts';
import { REPLAY_BYTES } from './recovery.ts';
import type { StreamHead } from './stream-head.ts';

/**
 * Fills a new backlog.
 * @param size size of the new backlog, in bytes
 * @param from the first byte after this offset is the oldest that the new backlog gets
 * @param isWanted asked after each rest: whether somebody still needs the new backlog
 * @param takeOver puts the new backlog in place, in the same step in which it becomes complete
 * @returns whether the new backlog took over; false: nobody needs it any more
 * @throws StorageError when the journal cannot be read, RangeError when there is no memory
 */
export async function refillBacklog(
  world: World,
  head: Pick<StreamHead, 'offset' | 'read' | 'pin'>,
  size: number,
  from: Offset,
  isWanted: () => boolean,
  takeOver: (backlog: Backlog) => void,
): Promise<boolean> {
  let at = from;
  const backlog = new Backlog(size, at);
  const unpin = head.pin(() => at);
  try {
    for (;;) {
      const turns = new Turns(world);
      const startedAt = world.monotonic();
      while (at < head.offset && !turns.isOver) {
        const bytes = head.read(at, REPLAY_BYTES);
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
