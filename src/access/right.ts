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
