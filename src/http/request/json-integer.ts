/**
 * Writes a 64-bit integer as a JSON number with all its digits. Clients whose numbers are doubles round it beyond 2^53;
 * they find the exact text in the value itself.
 */
export function jsonInteger(value: bigint): unknown {
  const number = Number(value);
  return Number.isSafeInteger(number) ? number : rawJson(value.toString());
}

/** TypeScript's library does not declare this yet; Node has it since version 21. */
const { rawJSON: rawJson } = JSON as unknown as { rawJSON(text: string): unknown };
