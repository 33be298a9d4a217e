/** Asks several objects of an archive for one thing, because some may be damaged. */
import { ArchiveError } from './archive-error.ts';
import { SegmentError } from './segment.ts';

/** Most of the newest objects of a run ID that are asked for one thing, and most of the older ones. */
export const MAX_ASKED = 4;

/**
 * @returns what the first of the candidates says that is not damaged, and which one it is
 * @throws ArchiveError or SegmentError, that of the first candidate, if all are damaged; what else `ask` throws
 */
export async function firstTold<C, T>(
  candidates: Iterable<C>,
  ask: (candidate: C) => Promise<T>,
): Promise<{ readonly told: T; readonly by: C }> {
  let damage: unknown = new ArchiveError('there is nothing to ask');
  let isFirst = true;
  for (const by of candidates) {
    try {
      return { told: await ask(by), by };
    } catch (error) {
      if (!isDamage(error)) throw error;
      if (isFirst) damage = error;
      isFirst = false;
    }
  }
  throw damage;
}

/** Whether an error says that an object is damaged, or not what its name says. */
export function isDamage(error: unknown): error is ArchiveError | SegmentError {
  return error instanceof ArchiveError || error instanceof SegmentError;
}

/**
 * @param objects of a run ID, in the order of the stream
 * @returns the newest ones first, and then a few of the others: damage often hits neighbours
 */
export function candidatesOf<T>(objects: readonly T[]): readonly T[] {
  const older = objects.slice(0, -MAX_ASKED);
  const step = Math.max(1, Math.ceil(older.length / MAX_ASKED));
  const spread = older.filter((_, index) => (older.length - 1 - index) % step === 0);
  return [...objects.slice(-MAX_ASKED).reverse(), ...spread.reverse()];
}
