/** Who sends a request, and what that one may do. */
import type { Problem } from '../node/problem.ts';
import { AccessProblem, certificateInvalid, tokenInvalid, tokenNeeded } from './access-problem.ts';
import { type Right, rightSet } from './right.ts';

export interface PrincipalParts {
  readonly id: string;
  /** Tells its owner from others, where limits count; absent: the ID does. */
  readonly client?: string;
  readonly name: string;
  readonly rights: Iterable<Right>;
  /** Beginnings of the keys that `read` and `write` are about; null: all keys. */
  readonly prefixes: readonly string[] | null;
  /** Unix time in milliseconds; null: never. */
  readonly expiresAt: number | null;
  /** The certificate that its owner shows; absent: it is a token. */
  readonly certificate?: { readonly san: string };
  /** What the token is good by; absent: it is in the list of tokens. */
  readonly signer?: Signer;
}

/** What may change in a token without making it another one. */
type Grant = Pick<PrincipalParts, 'name' | 'rights' | 'prefixes' | 'expiresAt'>;

/** The key that has signed a token. */
export interface Signer {
  /** Whether the node no longer accepts what the key has signed. */
  readonly isGone: boolean;
}

export class Principal {
  /** Public part of the token; it may stand in logs. */
  readonly id: string;
  /** What limits count by: the same for all tokens of one owner, and for nobody else's. */
  readonly client: string;
  #name: string;
  #expiresAt: number | null;
  #rights: ReadonlySet<Right>;
  #prefixes: readonly string[] | null;
  /** Name in the certificate that its owner shows; null: it is a token. */
  readonly #san: string | null;
  readonly #signer: Signer | null;
  readonly #now: () => number;
  #isRetired = false;

  /** @param now Unix time in milliseconds */
  constructor(
    { id, client = id, name, rights, prefixes, expiresAt, certificate, signer }: PrincipalParts,
    now: () => number,
  ) {
    this.id = id;
    this.client = client;
    this.#name = name;
    this.#expiresAt = expiresAt;
    this.#rights = rightSet(rights);
    this.#prefixes = prefixes;
    this.#san = certificate?.san ?? null;
    this.#signer = signer ?? null;
    this.#now = now;
  }

  get name(): string {
    return this.#name;
  }

  /** Unix time in milliseconds; null: never. */
  get expiresAt(): number | null {
    return this.#expiresAt;
  }

  /** Whether this is everybody, on a node without tokens. */
  get isAnybody(): boolean {
    return this.id === ANYBODY;
  }

  /**
   * The same for two connections, compared with `===`, if they have the same owner. A signed token is only the same as itself: what it
   * says of its owner is not unique.
   */
  get identity(): unknown {
    return this.#signer === null ? this.id : this;
  }

  get hasExpired(): boolean {
    return this.#expiresAt !== null && this.#expiresAt <= this.#now();
  }

  /** Whether its token was revoked or has lost a right, or its key has gone: what was begun with it may not go on. */
  get isRetired(): boolean {
    return this.#isRetired || this.#signer?.isGone === true;
  }

  get #isCurrent(): boolean {
    return !this.isRetired && !this.hasExpired;
  }

  /** Whether it would lose none of its rights with those of the parts: then what was begun with it may go on. */
  keepsAll({ rights, prefixes }: Grant): boolean {
    const next = rightSet(rights);
    const hasRights = next.has('admin') || [...this.#rights].every((right) => next.has(right));
    if (!hasRights || prefixes === null) return hasRights;
    return this.#prefixes?.every((own) => prefixes.some((prefix) => own.startsWith(prefix))) ?? false;
  }

  /** Whether the parts are what it has. */
  isAs({ name, rights, prefixes, expiresAt }: Grant): boolean {
    const isSame = name === this.#name && expiresAt === this.#expiresAt && rightSet(rights) === this.#rights;
    if (!isSame || prefixes === null || this.#prefixes === null) return isSame && prefixes === this.#prefixes;
    const own = this.#prefixes;
    return prefixes.length === own.length && prefixes.every((prefix, index) => prefix === own[index]);
  }

  /** Takes over the changes of its token, which `keepsAll`. */
  become({ name, rights, prefixes, expiresAt }: Grant): void {
    this.#name = name;
    this.#rights = rightSet(rights);
    this.#prefixes = prefixes;
    this.#expiresAt = expiresAt;
  }

  /** Takes all rights away, because its token was revoked or has lost one of them. */
  retire(): void {
    this.#isRetired = true;
  }

  /** Why it may do nothing any more; null: its token has all rights that it had. */
  get over(): Problem | null {
    return this.#isCurrent ? null : this.invalid;
  }

  /** Asked when a write is decided (node/write/sender.ts). @returns `over` */
  atDecision(): Problem | null {
    return this.over;
  }

  /** What a client is told when it may do nothing any more. */
  get invalid(): Problem {
    return this.#san === null ? tokenInvalid() : certificateInvalid();
  }

  /** Whether it has the right at all, maybe for some keys only. */
  has(right: Right): boolean {
    if (!this.#isCurrent) return false;
    return this.#rights.has(right) || this.#rights.has('admin');
  }

  /**
   * Whether it has the right for every key that begins with the prefix. A key is such a prefix of itself.
   * Keys are well-formed text, so comparing text is comparing their bytes.
   */
  covers(right: Right, prefix: string): boolean {
    if (!this.has(right)) return false;
    return this.#prefixes?.some((own) => prefix.startsWith(own)) ?? true;
  }

  /** @returns why it has no such right; it is the same for keys that are there and for keys that are not. null: it has */
  problem(right: Right, prefix: string): Problem | null {
    return this.covers(right, prefix) ? null : this.#refusal(right, this.has(right));
  }

  /** @throws Problem FORBIDDEN as `problem` says */
  mustCover(right: Right, prefix: string): void {
    const problem = this.problem(right, prefix);
    if (problem !== null) throw problem;
  }

  /** @throws Problem FORBIDDEN if it has none of the rights */
  mustHave(...rights: readonly Right[]): void {
    if (!rights.some((right) => this.has(right))) throw this.#refusal(rights[0] as Right, false);
  }

  /** @param isLimited whether it has the right, but for other keys */
  #refusal(right: Right, isLimited: boolean): Problem {
    if (!this.#isCurrent) return this.invalid;
    if (this.id === ANONYMOUS) return tokenNeeded();
    const own = (this.#prefixes ?? []).map((prefix) => JSON.stringify(prefix)).join(', ');
    const lacking = isLimited
      ? `the right ${right} only for keys that begin with ${own}`
      : `no right ${right}`;
    const proof = this.#san === null ? `token ${this.id}` : `certificate ${this.#san}`;
    return new AccessProblem('FORBIDDEN', `the ${proof} has ${lacking}`, 'insufficient_scope');
  }
}

/** ID of requests without a token, on a node with tokens. */
export const ANONYMOUS = 'anonymous';

/** ID of everybody, on a node without tokens. */
const ANYBODY = 'anybody';

/** @returns everybody, on a node without tokens; to be retired when the node gets some */
export function anybody(now: () => number): Principal {
  const parts = { id: ANYBODY, name: ANYBODY, prefixes: null, expiresAt: null };
  return new Principal({ ...parts, rights: ['admin'] }, now);
}

/** How long before its end a token counts as about to expire, in milliseconds. */
export const EXPIRING_MS = 30_000;

/** Something that stays open after it was allowed: a feed, a replica's link. */
export interface Opened {
  /** Whether this principal may still have it. */
  readonly may: (principal: Principal) => boolean;
  /** Ends it. Called once. */
  readonly revoked: (problem: Problem) => void;
  /** Says that its token expires at this Unix time in milliseconds, `EXPIRING_MS` before or as soon as that is known. */
  readonly expiring?: (expiresAt: number) => void;
}

/** The look at something open. */
export interface Watch {
  /** To be called when it has ended otherwise. */
  end(): void;
  /** It goes on with another principal; if that one may not have it, it ends. */
  renew(principal: Principal): void;
}
