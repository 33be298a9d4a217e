/** Content negotiation (RFC 9110, 12.5.1). */
import Negotiator from 'negotiator';

/**
 * @param accept the `Accept` header; absent, or without an element: everything is fine
 * @param offered what there is, the preferred one first
 * @returns the one that the client wants most, or null if it wants none
 */
export function acceptedOf<T extends string>(accept: string | undefined, offered: readonly T[]): T | null {
  if (accept === undefined || /^[\s,]*$/.test(accept)) return offered[0] ?? null;
  const chosen = new Negotiator({ headers: { accept } }).mediaType([...offered]);
  return offered.find((type) => type === chosen) ?? null;
}
