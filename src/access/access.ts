/**
 * Who may do what on this node, while it runs: which token belongs to whom, and which open streams end when a token
 * goes. Looking up a token is synchronous, because the fast path asks too; only a signed token that comes for the first time
 * takes longer.
 *
 * Over 350 lines: finding the sender, refusing requests and ending streams share the tables of principals and the last token of each connection.
 */
import type { Steps } from '../keyspace/json/json.ts';
import { Tally } from '../node/ports/counts.ts';
import type { Log, World } from '../node/ports/world.ts';
import { Problem } from '../node/problem.ts';
import {
  AccessProblem,
  certificateUnknown,
  type FailureName,
  LimitProblem,
  tokenInvalid,
  tokenNeeded,
} from './access-problem.ts';
import { clientOf } from './address.ts';
import { Buckets } from './buckets.ts';
import { Certified } from './certified.ts';
import { ANONYMOUS, anybody, EXPIRING_MS, type Opened, Principal, type Watch } from './principal.ts';
import type { Right } from './right.ts';
import { isToken, tokenDigest, tokenOf } from './token.ts';
import { secretOf, type TokenRecord } from './tokens/token-list.ts';
import type { Verifier } from './verifier.ts';

export interface AccessSettings {
  /** Rights of requests without a token, on a node with tokens. */
  readonly anonymousRights: readonly Right[];
  /** Number of tokens that are not valid which one address may show in a minute. */
  readonly authFailures: number;
  /** `required`: only clients whose certificates a CA of the node has signed reach it. Absent: everybody does. */
  readonly tlsClientAuth?: string;
  /** File with the token that the node shows to its master; null or absent: it shows none. */
  readonly upstreamTokenFile?: string | null;
  /** File with the certificate that it shows; null or absent: it shows none. */
  readonly upstreamCert?: string | null;
}

/** What a node shows to its master, so that it is let in there. */
export interface ShownUpstream {
  readonly token: boolean;
  readonly certificate: boolean;
}

/** A token that the node knows. */
interface Known {
  readonly secret: string;
  readonly principal: Principal;
}

/** What was found for the last token of a connection. */
interface Shown {
  readonly authorization: string;
  readonly principal: Principal;
}

const EXPIRED = 'it has expired';

export class Access {
  /** Called when tokens have gone or changed, and once a second: they end what waits for a sender that is over (`Principal.over`). */
  readonly whenLost = new Set<() => void>();
  /** The connections of clients with certificates. A token in a request counts more than the certificate. */
  readonly certified: Certified;
  readonly #log: Log;
  readonly #now: () => number;
  readonly #anybody: Principal;
  readonly #anonymous: Principal | null;
  readonly #requiresCertificates: boolean;
  readonly #shownUpstream: ShownUpstream;
  /** Requests without a valid token or certificate since the start, on a node that needs one. */
  readonly failures = new Tally<FailureName>();
  readonly #failures: Buckets;
  readonly #opened = new Map<Opened, Principal>();
  /** Those that know that their token is about to expire. */
  readonly #told = new Set<Opened>();
  readonly #shown = new WeakMap<object, Shown>();
  /** null: the node has no list of tokens. */
  #byDigest: ReadonlyMap<string, Principal> | null = null;
  #byId: ReadonlyMap<string, Known> = new Map();
  /** null: the node takes no signed tokens. */
  #verifier: Verifier | null = null;
  #guarded: () => void = () => undefined;
  /** Tokens whose end is logged; one line is enough for all that it ends. */
  readonly #loggedGone = new WeakSet<Principal>();
  /** During a change: the new principals of tokens whose rights have changed. */
  #successors = new Map<Principal, Principal>();

  constructor(log: Log, settings: AccessSettings, { now, monotonic }: Pick<World, 'now' | 'monotonic'>) {
    const { anonymousRights: anonymous, authFailures } = settings;
    this.#shownUpstream = shownUpstream(settings);
    this.#requiresCertificates = settings.tlsClientAuth === 'required';
    this.#log = log;
    this.#now = now;
    this.#anybody = anybody(now);
    this.#failures = new Buckets(authFailures / 60, authFailures, monotonic);
    this.certified = new Certified(monotonic);
    this.#anonymous =
      anonymous.length === 0
        ? null
        : new Principal(
            { id: ANONYMOUS, name: 'anonymous', rights: anonymous, prefixes: null, expiresAt: null },
            now,
          );
  }

  /** Whether everybody may do everything, because the node knows no tokens of any kind. */
  get isOpen(): boolean {
    return this.#byDigest === null && this.#verifier === null;
  }

  /** Whether everybody who reaches the node may do everything: it knows no tokens, and requires no certificates. */
  get letsEverybodyIn(): boolean {
    return this.isOpen && !this.#requiresCertificates;
  }

  /**
   * Whether what the node has must not be served without tokens: it needs some, or it shows its master a token or a certificate, without
   * which it would have nothing.
   */
  get needsTokens(): boolean {
    return !this.isOpen || this.#showsItself;
  }

  /** What everybody who reaches the node could have it show to another one; null: nothing, or only those who are let in could. */
  get exposedUpstream(): ShownUpstream | null {
    return this.letsEverybodyIn && this.#showsItself ? this.#shownUpstream : null;
  }

  get #showsItself(): boolean {
    return this.#shownUpstream.token || this.#shownUpstream.certificate;
  }

  /** Whether the node has a list of tokens. */
  get hasList(): boolean {
    return this.#byDigest !== null;
  }

  /** Everybody who sends a request, as long as the node is open. */
  get anybody(): Principal {
    return this.#anybody;
  }

  /** Takes signed tokens too; to be called before the first request. */
  useVerifier(verifier: Verifier): void {
    this.#verifier = verifier;
    this.#guarded();
  }

  /** @param guarded called when the node needs tokens; also again, when it gets more */
  whenGuarded(guarded: () => void): void {
    this.#guarded = guarded;
  }

  /**
   * Takes over the tokens, and ends the streams that lost what they need. A token that has lost no right keeps its principal. In steps, because ten
   * thousand tokens take longer than one turn of the event loop may; until the last step all tokens are as they were. One call must be
   * through before the next begins.
   */
  *replaceSteps(records: readonly TokenRecord[]): Steps<void> {
    const byDigest = new Map<string, Principal>();
    const byId = new Map<string, Known>();
    const byName = new Map<string, Principal>();
    const changed = new Map<Principal, TokenRecord>();
    for (const record of records) {
      yield;
      const before = this.#byId.get(record.id);
      const secret = secretOf(record);
      const isKept = before?.secret === secret && before.principal.keepsAll(record);
      const principal = isKept ? before.principal : new Principal(record, this.#now);
      if (isKept && !principal.isAs(record)) changed.set(principal, record);
      if ('sha256' in record) byDigest.set(record.sha256, principal);
      else byName.set(record.certificate.san, principal);
      byId.set(record.id, { principal, secret });
    }
    for (const [id, { principal, secret }] of this.#byId) {
      const now = byId.get(id);
      if (now?.principal === principal) continue;
      principal.retire();
      // The same secret with other rights: its streams may go on with those.
      if (now?.secret === secret) this.#successors.set(principal, now.principal);
    }
    for (const [principal, record] of changed) principal.become(record);
    // They may expire at another time now.
    for (const [opened, principal] of this.#opened) if (changed.has(principal)) this.#told.delete(opened);
    this.#byDigest = byDigest;
    this.#byId = byId;
    this.certified.replace(byName);
    this.#anybody.retire();
    this.#guarded();
    this.recheck();
    this.#successors = new Map();
  }

  /** Finds the sender of a request. The fast path leaves it to `authenticate` to say why there is none. */
  find(authorization: string | undefined, connection: object): Principal | null {
    if (this.isOpen) return this.#anybody;
    if (authorization === undefined) return this.certified.principalOf(connection) ?? this.#anonymous;
    const found = this.#shownBy(authorization, connection);
    return typeof found === 'string' ? null : found;
  }

  /** @returns as `find`, and also whose the last token of the connection was that is no longer valid: for the log of what was begun with it */
  begunBy(authorization: string | undefined, connection: object): Principal | null {
    const shown = this.#shown.get(connection);
    return shown !== undefined && shown.authorization === authorization
      ? shown.principal
      : this.find(authorization, connection);
  }

  /**
   * Verifies a signed token that comes for the first time, so that `find` knows whose it is. Whether it is valid, `authenticate` says.
   * @returns null: there is no such token. The promise rejects with TOO_MANY_REQUESTS if too many tokens are being verified.
   */
  verifyFirst(authorization: string | undefined, connection: object): Promise<unknown> | null {
    if (this.isOpen || authorization === undefined || this.#verifier === null) return null;
    if (this.find(authorization, connection) !== null) return null;
    const token = tokenOf(authorization);
    return token !== null && this.#verifier.takes(token) ? this.#verifier.verify(token) : null;
  }

  /**
   * @param authorization the `Authorization` header; undefined: the request has none
   * @param connection of the request; a second request with the same header costs no hash
   * @param address of the client, for which tokens that are not valid count
   * @returns the sender; a promise only if a signed token has to be verified first
   * @throws Problem UNAUTHORIZED, the same for each token that is no good; BAD_REQUEST if it is no Bearer token;
   * TOO_MANY_REQUESTS. A promise rejects with the same.
   */
  authenticate(
    authorization: string | undefined,
    connection: object,
    address: string,
  ): Principal | Promise<Principal> {
    if (this.isOpen) return this.#anybody;
    if (authorization === undefined) return this.#without(connection, address);
    const found = this.#shownBy(authorization, connection);
    if (found === null) {
      this.failures.add('malformed');
      throw new Problem('BAD_REQUEST', 'expected one Authorization header, Bearer and a token');
    }
    if (typeof found !== 'string') return found;
    return this.#verified(found, tokenOf(authorization) ?? '', address, (principal) =>
      this.#shown.set(connection, { authorization, principal }),
    );
  }

  /** @returns the sender of a request without a token @throws Problem UNAUTHORIZED; FORBIDDEN if its certificate is unknown */
  #without(connection: object, address: string): Principal {
    const found = this.certified.principalOf(connection) ?? this.#anonymous;
    if (found !== null) return found;
    this.failures.add(this.certified.has(connection) ? 'certificate' : 'missing');
    if (!this.certified.has(connection)) throw tokenNeeded();
    const names = this.certified.refusalToLog(connection, address);
    if (names !== null) this.#log.info('certificate-refused', { names, address });
    throw certificateUnknown();
  }

  /**
   * As `authenticate`, for a token that did not come in a header.
   * @throws Problem UNAUTHORIZED; TOO_MANY_REQUESTS if this client has shown too many tokens that were no good
   */
  authenticateToken(token: string, address: string): Principal | Promise<Principal> {
    if (this.isOpen) return this.#anybody;
    const found = this.#principalOf(token);
    return typeof found === 'string' ? this.#verified(found, token, address) : found;
  }

  /** Verifies a token that is in no list. @param reason why it is refused if it is not signed either @param good gets its owner */
  #verified(
    reason: string,
    token: string,
    address: string,
    good: (principal: Principal) => void = () => undefined,
  ): Promise<Principal> {
    const verifier = this.#verifier;
    if (verifier?.takes(token) !== true) throw this.#refused(reason, token, address);
    return verifier.verify(token).then((found) => {
      if (typeof found === 'string') throw this.#refused(found, token, address);
      good(found);
      return found;
    });
  }

  /** @returns whose token the header has, or what is wrong with the token; null: it is not one Bearer token */
  #shownBy(authorization: string, connection: object): Principal | string | null {
    const shown = this.#shown.get(connection);
    if (shown?.authorization === authorization && !shown.principal.isRetired) {
      return shown.principal.hasExpired ? EXPIRED : shown.principal;
    }
    const token = tokenOf(authorization);
    if (token === null) return null;
    const found = this.#principalOf(token);
    if (typeof found !== 'string') this.#shown.set(connection, { authorization, principal: found });
    return found;
  }

  #refused(reason: string, token: string, address: string): Problem {
    // A valid token is never refused for what its neighbours do: behind a proxy all clients have one address. Looking a token up
    // costs less than reading its request.
    const { allowed, seconds } = this.#failures.take(clientOf(address));
    this.failures.add(!allowed ? 'limited' : reason === EXPIRED ? 'expired' : 'invalid');
    if (!allowed)
      return new LimitProblem('too many tokens that are not valid came from this address', seconds);
    return this.#invalid(reason, isToken(token) ? (token.split('_')[1] ?? null) : null, address);
  }

  /** Ends `opened` as soon as the principal's token is revoked, expires, or loses what it needs; at once if that is so already. */
  watch(principal: Principal, opened: Opened): Watch {
    this.#look(opened, principal);
    return {
      end: () => this.#forget(opened),
      renew: (next) => {
        if (this.#opened.has(opened)) this.#look(opened, next);
      },
    };
  }

  /** Ends the streams of tokens that have expired meanwhile, and warns others; to be called at least once a second. */
  tick(): void {
    const now = this.#now();
    for (const [opened, principal] of this.#opened) {
      const { expiresAt } = principal;
      if (expiresAt === null || expiresAt > now + EXPIRING_MS) continue;
      if (expiresAt <= now) this.#look(opened, principal);
      else if (!this.#told.has(opened)) {
        this.#told.add(opened);
        opened.expiring?.(expiresAt);
      }
    }
    for (const look of this.whenLost) look();
  }

  /** Ends the streams of tokens that are gone or changed; to be called after the verifier has lost a key. */
  recheck(): void {
    for (const [opened, principal] of this.#opened) if (principal.isRetired) this.#look(opened, principal);
    for (const look of this.whenLost) look();
  }

  #look(opened: Opened, principal: Principal): void {
    const now = this.#present(principal);
    if (now !== null && opened.may(now)) {
      if (this.#opened.get(opened) !== now) this.#told.delete(opened);
      this.#opened.set(opened, now);
      return;
    }
    this.#forget(opened);
    if (now === null && !this.#loggedGone.has(principal)) {
      this.#loggedGone.add(principal);
      this.#invalid('it was revoked, or has expired', principal.id);
    }
    const lacking = 'the token or certificate lacks a right that this needs';
    opened.revoked(
      now === null ? principal.invalid : new AccessProblem('FORBIDDEN', lacking, 'insufficient_scope'),
    );
  }

  #forget(opened: Opened): void {
    this.#opened.delete(opened);
    this.#told.delete(opened);
  }

  /** @returns what the principal is now; null: it is gone */
  #present(principal: Principal): Principal | null {
    const now = principal.isRetired ? (this.#successors.get(principal) ?? null) : principal;
    return now === null || now.hasExpired ? null : now;
  }

  /** @returns whose token it is, or what is wrong with it */
  #principalOf(token: string): Principal | string {
    if (!isToken(token)) return this.#verifier?.known(token) ?? 'it is mistyped, or no token of psyncd';
    const principal = this.#byDigest?.get(tokenDigest(token));
    if (principal === undefined) return 'it is unknown or was revoked';
    return principal.hasExpired ? EXPIRED : principal;
  }

  /** The log knows what is wrong; a client is told the same whatever it is. */
  #invalid(reason: string, id: string | null, address?: string): AccessProblem {
    this.#log.info('token-refused', {
      reason,
      ...(id === null ? {} : { id }),
      ...(address === undefined ? {} : { address }),
    });
    return tokenInvalid();
  }
}

function shownUpstream({ upstreamCert = null, upstreamTokenFile = null }: AccessSettings): ShownUpstream {
  return { token: upstreamTokenFile !== null, certificate: upstreamCert !== null };
}
