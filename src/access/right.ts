/** What a token may do. */

/**
 * - `read`: values, pages, exports, digests and changes
 * - `write`: everything that changes entries
 * - `replicate`: follow this node as a replica, and ask what a replica asks its master
 * - `metrics`: numbers about the node, but no data
 * - `admin`: roles, settings, tokens; it includes all other rights
 */
export const RIGHTS = ['read', 'write', 'replicate', 'metrics', 'admin'] as const;

export type Right = (typeof RIGHTS)[number];

/** Rights that a list of key prefixes limits; the others concern the whole node. */
const LIMITED: ReadonlySet<Right> = new Set(['read', 'write', 'metrics']);

export function isRight(text: unknown): text is Right {
  return RIGHTS.some((right) => right === text);
}

/** @returns the first of the rights that makes no sense together with key prefixes, or null */
export function unlimited(rights: Iterable<Right>): Right | null {
  for (const right of rights) if (!LIMITED.has(right)) return right;
  return null;
}

/** Sets of rights that are in use, by their names: thousands of tokens share a few, and cost no memory for them. */
const SETS = new Map<string, ReadonlySet<Right>>();

/** @returns the set with these rights, always the same one */
export function rightSet(rights: Iterable<Right>): ReadonlySet<Right> {
  const wanted = new Set(rights);
  const members = RIGHTS.filter((right) => wanted.has(right));
  const name = members.join();
  const found = SETS.get(name) ?? new Set(members);
  // At most 32 of them, because there are five rights.
  SETS.set(name, found);
  return found;
}
