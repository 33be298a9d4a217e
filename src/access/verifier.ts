/** Tokens that no list holds: a signature says whose they are. */
import type { Principal } from './principal.ts';

/** Checks signed tokens. The first check of a token takes a while; after it, the owner is known at once. */
export interface Verifier {
  /** Whether the text has the form of a token that `verify` can check. */
  takes(token: string): boolean;
  /** @returns the owner of a token that was verified before and is still valid; null: `verify` has to look */
  known(token: string): Principal | null;
  /**
   * @returns whose token it is, or what is wrong with it
   * @throws Problem TOO_MANY_REQUESTS if too many tokens are being verified
   */
  verify(token: string): Promise<Principal | string>;
}
