/** 64-bit integers in JSON, whose numbers many clients round beyond 2^53. */
import { Problem } from '../../node/problem.ts';

/** @throws Problem BAD_REQUEST for what is no 64-bit integer */
export function integerOf(value: number | string): bigint {
  const isInteger = typeof value === 'string' ? /^-?\d{1,19}$/.test(value) : Number.isSafeInteger(value);
  if (!isInteger)
    throw new Problem('BAD_REQUEST', '"by" is not an integer; send one beyond 2^53 as a string of digits');
  const by = BigInt(value);
  if (BigInt.asIntN(64, by) !== by) throw new Problem('BAD_REQUEST', '"by" has more than 64 bits');
  return by;
}

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
