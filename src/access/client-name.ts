/** The name under which limits count what one client does: its token, or its address if it has none. */
import { clientOf } from './address.ts';
import { ANONYMOUS, type Principal } from './principal.ts';

/** What a limit counts by. */
export type ClientKind = 'token' | 'address';

/** @param principal null: the sender of the request has not been found */
export function clientKind(principal: Principal | null): ClientKind {
  return principal === null || principal.isAnybody || principal.id === ANONYMOUS ? 'address' : 'token';
}

/**
 * @param address IP address of the client
 * @returns the same name for all requests of one token, and of one address (IPv6: of one /64) without a token
 */
export function clientName(principal: Principal | null, address: string): string {
  return principal !== null && clientKind(principal) === 'token'
    ? `token ${principal.client}`
    : `address ${clientOf(address)}`;
}
