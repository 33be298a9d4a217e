/**
 * A position names one byte boundary in one history: `<run ID>:<offset>`. It is always one value.
 *
 * Counting, in numbers: a node that has applied 50 bytes is at offset 50, and the next byte it wants is byte 51.
 * Positions carry the 50. Only PSYNC on the wire carries the 51; `wireOffset` and `fromWireOffset` are the one
 * place that converts (docs/design/redis-rules.md, R3 and R5).
 */
declare const offsetBrand: unique symbol;
declare const runIdBrand: unique symbol;

/** Number of bytes of the stream applied since the history began. */
export type Offset = number & { readonly [offsetBrand]: true };
/** Name of one history of writes: 40 lowercase hex characters. */
export type RunId = string & { readonly [runIdBrand]: true };

export interface Position {
  readonly runId: RunId;
  readonly offset: Offset;
}

export const ZERO = 0 as Offset;

/** @throws RangeError unless the value is a whole number from 0 to 2^53-1 */
export function offset(value: number): Offset {
  if (!Number.isSafeInteger(value) || value < 0) throw new RangeError(`${value} is not an offset`);
  return value as Offset;
}

/** @returns the offset for these digits; null for any other text, so each offset has exactly one spelling */
export function parseOffset(text: string): Offset | null {
  const value = Number(text);
  return /^(?:0|[1-9]\d{0,15})$/.test(text) && Number.isSafeInteger(value) ? (value as Offset) : null;
}

/** @returns the run ID in lowercase, because case does not matter in comparisons; or null */
export function parseRunId(text: string): RunId | null {
  return /^[0-9a-f]{40}$/i.test(text) ? (text.toLowerCase() as RunId) : null;
}

export function formatPosition(position: Position): string {
  return `${position.runId}:${position.offset}`;
}

/** @returns the position for `<run ID>:<offset>`; null for any other text */
export function parsePosition(text: string): Position | null {
  const match = /^([0-9a-f]{40}):(\d+)$/i.exec(text);
  const runId = parseRunId(match?.[1] ?? '');
  const value = parseOffset(match?.[2] ?? '');
  return runId === null || value === null ? null : { runId, offset: value };
}

/** The first missing byte at this offset: what PSYNC asks for. */
export function wireOffset(applied: Offset): number {
  return applied + 1;
}

/** The offset of a node that asks for byte `asked`; -1 if it asks for byte 0, which does not exist. */
export function fromWireOffset(asked: number): number {
  return asked - 1;
}
