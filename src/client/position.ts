/**
 * Positions are opaque to applications. This client parses them for two purposes only: to drop events that it has
 * already had, and to tell whether it has reached another position.
 *
 * Offsets count on when a history gets another run ID. So on one connection, between two resets, offsets alone give the
 * order.
 */
export interface ParsedPosition {
  readonly runId: string;
  readonly offset: number;
}

/** @param text may come from a node, and then be anything @returns the parts of `<run ID>:<offset>`; null for anything else */
export function parsePosition(text: unknown): ParsedPosition | null {
  const match = typeof text === 'string' && /^([0-9a-f]{40}):(\d{1,16})$/i.exec(text);
  return match ? { runId: (match[1] as string).toLowerCase(), offset: Number(match[2]) } : null;
}

/**
 * Compares two positions of the same connection, or of one client's writes.
 * @returns whether `at` is before `other`; false if one of them is not a position
 */
export function isBefore(at: string, other: string): boolean {
  // No comparison with undefined is true.
  return (parsePosition(at)?.offset as number) < (parsePosition(other)?.offset as number);
}
