/**
 * Positions are opaque to applications. This client looks inside for two things only: to leave out what it has had
 * already, and to tell whether it has got as far as another position.
 *
 * Offsets go on counting when a history gets another run ID. So on one connection, between two resets, they tell what is
 * earlier, whatever the run IDs.
 */
export interface ParsedPosition {
  readonly runId: string;
  readonly offset: number;
}

/** @returns what `<run ID>:<offset>` names, or null when the text is anything else */
export function parsePosition(text: string): ParsedPosition | null {
  const match = /^([0-9a-f]{40}):(\d{1,16})$/i.exec(text);
  return match === null ? null : { runId: (match[1] as string).toLowerCase(), offset: Number(match[2]) };
}

/**
 * @returns whether `at` is no earlier than `wanted`; null: they are of different run IDs, so the offsets alone do not
 *   tell, or one of them is no position
 */
export function hasReached(at: string, wanted: string): boolean | null {
  const [left, right] = [parsePosition(at), parsePosition(wanted)];
  if (left === null || right === null || left.runId !== right.runId) return null;
  return left.offset >= right.offset;
}

/** Of two positions of the same connection. @returns whether `at` is earlier than `other`; false if one is no position */
export function isBefore(at: string, other: string): boolean {
  const [left, right] = [parsePosition(at), parsePosition(other)];
  return left !== null && right !== null && left.offset < right.offset;
}
