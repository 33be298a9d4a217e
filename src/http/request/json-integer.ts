/**
 * A 64-bit integer as a JSON number with all its digits; readers whose numbers are doubles round it beyond 2^53, and
 * find the exact text in the value itself.
 */
export function jsonInteger(value: bigint): unknown {
  const number = Number(value);
  return Number.isSafeInteger(number) ? number : rawJson(value.toString());
}

/** Not in TypeScript's library yet; in Node since 21. */
const { rawJSON: rawJson } = JSON as unknown as { rawJSON(text: string): unknown };
