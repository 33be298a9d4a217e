/** Deletes all entries with a prefix in steps, so that single writes get turns between them. */
import type { Page } from '../../keyspace/page.ts';
import { formatPosition } from '../../replication/position.ts';
import type { StreamHead } from '../head/stream-head.ts';
import type { World } from '../ports/world.ts';
import { restAfter } from '../turns.ts';
import type { Sender } from './sender.ts';
import type { WriteTurn } from './write-turn.ts';

/** The largest number of entries that one step deletes, which takes a few milliseconds. */
const STEP_KEYS = 500;

interface DeletePrefixParts {
  readonly world: World;
  readonly head: Pick<StreamHead, 'page' | 'lastPageMs' | 'position'>;
  readonly writes: Pick<WriteTurn, 'submit' | 'singles' | 'lastTurnMs'>;
}

/**
 * Deletes the entries whose keys begin with the prefix, in key order. While other clients write, it takes a quarter of the event
 * loop (`BACKGROUND_SHARE`); otherwise it takes all the time that the loop has.
 * @param sender asked before each step
 * @returns the number of deleted entries, and the position of the last deletion
 * @throws Problem @see WriteTurn.submit; the entries of earlier steps are deleted then
 */
export async function deletePrefix(
  { world, head, writes }: DeletePrefixParts,
  prefix: string,
  sender: Sender | null,
): Promise<{ deleted: number; position: string }> {
  let deleted = 0;
  let position = formatPosition(head.position);
  let after: string | null = null;
  let singles = writes.singles;
  do {
    const page: Page = await head.page({ prefix, after, limit: STEP_KEYS, values: false }, true);
    const pageMs = head.lastPageMs;
    const keys = page.entries.map(({ key }) => key);
    if (keys.length > 0) {
      const result = await writes.submit({ kind: 'delete-many', keys }, sender);
      deleted += result.count;
      position = result.position;
    }
    after = page.next;
    if (keys.length === 0 && after === null) break;
    // A page of expired entries only has no keys to delete.
    await rest(world, keys.length > 0 ? pageMs + writes.lastTurnMs : pageMs, writes.singles > singles);
    singles = writes.singles;
  } while (after !== null);
  return { deleted, position };
}

/**
 * @param stepMs the duration of the step before, in milliseconds
 * @param othersWrite whether to rest for the share of other writers, or for one turn of the event loop only
 */
function rest(world: World, stepMs: number, othersWrite: boolean): Promise<void> {
  return new Promise((resolve) => {
    if (othersWrite) world.after(restAfter(stepMs), resolve);
    else world.soon(resolve);
  });
}
