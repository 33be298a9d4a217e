/**
 * Compares a base with the segment that has its last byte. A copy of a node that went on under the same run ID has other bytes at the same
 * offsets, and history hashes tell them apart.
 */
import { NoStream } from '../../node/ports/failures.ts';
import { ArchiveError, DamagedObject } from '../archive-error.ts';
import type { Catalogue } from '../catalogue.ts';
import type { UsableSegment } from '../coverage.ts';
import type { Hasher } from './replay.ts';
import { MAX_DAMAGED, type Route } from './route.ts';

/** @returns what hashes the bytes after an offset; `hash`: the history hash there, null if it is unknown */
export type HasherFrom = (offset: number, hash: bigint | null) => Hasher;

/**
 * @param hash the history hash that the base has; null: it has none
 * @returns whether another object of the archive has the same hash there; if not, there is nothing to compare, or the first segment of the
 *   route compares it
 * @throws ArchiveError if the base is of another history; TargetError
 */
export async function isProven(
  catalogue: Catalogue,
  route: Route,
  hash: bigint | null,
  hasherFrom: HasherFrom,
): Promise<boolean> {
  const { base, segments, coverage } = route;
  if (hash === null) return false;
  const damaged = new Set<string>();
  while (damaged.size <= MAX_DAMAGED) {
    const [last] = coverage.before(base.offset, damaged);
    if (last === undefined || last.usableTo < base.offset) return false;
    const { name } = last.segment;
    if (name === segments[0]?.segment.name) return false;
    const found = await hashIn(catalogue, last, base.offset, hasherFrom);
    if (found === 'damaged') {
      damaged.add(name);
      continue;
    }
    if (found === hash) return true;
    if (found === null) return false;
    if (await beginsWith(catalogue, route, hash)) return true;
    throw new ArchiveError(
      `${base.name} is of another history: its hash at byte ${base.offset} is not that of ${name}`,
    );
  }
  return false;
}

/** @returns the history hash at an offset that is inside of the segment or at its end; null: unknown @throws ArchiveError, TargetError */
async function hashIn(
  catalogue: Catalogue,
  { segment }: UsableSegment,
  offset: number,
  hasherFrom: HasherFrom,
): Promise<bigint | null | 'damaged'> {
  try {
    return await catalogue.use(segment, async ({ header, bytes }) => {
      if (header.end === offset) return header.hashAfter;
      const hasher = hasherFrom(header.after, header.hashBefore);
      let at: number = header.after;
      for await (const part of bytes()) {
        const before = part.subarray(0, Math.max(0, offset - at));
        if (before.length > 0) hasher.push(before);
        at += part.length;
      }
      if (hasher.offset === offset) return hasher.hash;
      throw new ArchiveError(
        `${segment.name}: byte ${offset}, at which there is a backup, is inside a command`,
      );
    });
  } catch (error) {
    if (error instanceof DamagedObject) return 'damaged';
    throw error instanceof NoStream ? new ArchiveError(`${segment.name}: ${error.message}`) : error;
  }
}

/** Whether hashes begin anew at the base with the hash that it has. What is damaged tells nothing. */
async function beginsWith(catalogue: Catalogue, { base, coverage }: Route, hash: bigint): Promise<boolean> {
  const [next] = coverage.chain(base.offset);
  if (next?.segment.after !== base.offset) return false;
  try {
    const { beginsChain, hashBefore } = await catalogue.header(next.segment);
    return beginsChain && hashBefore === hash;
  } catch (error) {
    if (error instanceof ArchiveError) return false;
    throw error;
  }
}
