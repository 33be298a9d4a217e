/** Content negotiation (RFC 9110, 12.5.1). */
import Negotiator from 'negotiator';

/**
 * @param accept the `Accept` header; a missing or empty one accepts everything
 * @param offered available media types, the preferred one first
 * @returns the offered type that the client prefers; null if it accepts none
 */
export function acceptedOf<T extends string>(accept: string | undefined, offered: readonly T[]): T | null {
  if (accept === undefined || /^[\s,]*$/.test(accept)) return offered[0] ?? null;
  const chosen = new Negotiator({ headers: { accept } }).mediaType([...offered]);
  return offered.find((type) => type === chosen) ?? null;
}
