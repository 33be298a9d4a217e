/** Verifies JWTs, and remembers those that are good until they expire or their key goes. */
import { errors, type JWTPayload, jwtVerify } from 'jose';
import type { Log, World } from '../../node/ports/world.ts';
import type { Access } from '../access.ts';
import { LimitProblem } from '../access-problem.ts';
import { Principal } from '../principal.ts';
import { tokenDigest } from '../token.ts';
import type { Verifier } from '../verifier.ts';
import { ClaimError, LEEWAY_SECONDS, ownerOf } from './claims.ts';
import type { JwtKey } from './jwt-key.ts';
import { type KeyPlace, KeySource } from './key-source.ts';
import { plainObject } from './plain-object.ts';

/** Longest JWT, in bytes: all headers of a request together may have 16 KiB. */
export const MAX_JWT_BYTES = 8 * 1024;
/** Largest number of tokens that are remembered; then the oldest is forgotten, and verified anew when it comes again. */
export const MAX_VERIFIED = 5_000;
/** Largest number of tokens that are verified at the same time. */
const MAX_VERIFYING = 256;
/**
 * Largest number of tokens that wait for new keys at the same time, beside those that are verified: a URL may hang for seconds, and nothing
 * in them is known to be true. They must not keep away tokens whose keys the node has.
 */
const MAX_WAITING = 256;
const FORM = /^[\w-]+\.[\w-]+\.[\w-]*$/;

export interface JwtSettings {
  /** Path or URL of a JWKS; null: none. */
  readonly jwtJwks: string | null;
  /** Path of PEM, a JWK or a JWKS; null: none. */
  readonly jwtKeyFile: string | null;
  /** What `aud` must name; null: no token is good. */
  readonly jwtAudience: string | null;
  /** What `iss` must be; null: anything. */
  readonly jwtIssuer: string | null;
  /** Longest life of a token, in milliseconds. */
  readonly jwtMaxAge: number;
}

export interface JwtParts {
  readonly settings: JwtSettings;
  readonly access: Access;
  readonly world: World;
  readonly log: Log;
}

export class Jwts implements Verifier {
  readonly #settings: JwtSettings;
  readonly #world: World;
  readonly #sources: readonly KeySource[];
  readonly #verified = new Map<string, Principal>();
  readonly #verifying = new Map<string, Promise<Principal | string>>();
  /** Number of those that wait for keys. */
  #waiting = 0;

  private constructor({ settings, access, world, log }: JwtParts) {
    this.#settings = settings;
    this.#world = world;
    const parts = { world, log, gone: () => access.recheck() };
    this.#sources = placesOf(settings).map((place) => new KeySource(place, parts));
  }

  /**
   * Lets clients show signed tokens.
   * @throws Error of one line if a file has no keys
   */
  static async start(parts: JwtParts): Promise<Jwts> {
    const jwts = new Jwts(parts);
    try {
      for (const source of jwts.#sources) await source.start();
    } catch (error) {
      jwts.stop();
      throw error;
    }
    parts.access.useVerifier(jwts);
    return jwts;
  }

  stop(): void {
    for (const source of this.#sources) source.stop();
  }

  /** Reads all keys anew. */
  async reload(): Promise<void> {
    await Promise.all(this.#sources.map((source) => source.reload()));
  }

  takes(token: string): boolean {
    return token.length <= MAX_JWT_BYTES && FORM.test(token);
  }

  known(token: string): Principal | null {
    if (!this.takes(token)) return null;
    const digest = tokenDigest(token);
    const principal = this.#verified.get(digest);
    if (principal === undefined) return null;
    if (!principal.isRetired && !principal.hasExpired) return principal;
    this.#verified.delete(digest);
    return null;
  }

  verify(token: string): Promise<Principal | string> {
    const digest = tokenDigest(token);
    const running = this.#verifying.get(digest);
    if (running !== undefined) return running;
    if (this.#verifying.size - this.#waiting >= MAX_VERIFYING) return Promise.reject(tooMany());
    const verifying = this.#verify(token, digest).finally(() => this.#verifying.delete(digest));
    this.#verifying.set(digest, verifying);
    return verifying;
  }

  async #verify(token: string, digest: string): Promise<Principal | string> {
    if (!hasCanonicalSignature(token)) return 'its signature is no canonical base64url';
    const header = headerOf(token);
    if (typeof header === 'string') return header;
    // The node understands no extension.
    if (header.crit !== undefined) return 'its header has "crit"';
    const { alg, kid } = header;
    if (kid !== undefined && typeof kid !== 'string') return '"kid" is no text';
    const before = this.#keysFor(alg, kid);
    const found = await this.#verifyWith(before, token, digest);
    if (found !== null) return found;
    // The issuer may have exchanged its key, with a new ID or without.
    await this.#newKeys();
    const fresh = this.#keysFor(alg, kid).filter((key) => !before.includes(key));
    const now = await this.#verifyWith(fresh, token, digest);
    if (now !== null) return now;
    return before.length + fresh.length === 0
      ? 'no key is for its algorithm and its key ID'
      : 'its signature is wrong';
  }

  /** @throws LimitProblem if too many tokens wait for keys already */
  async #newKeys(): Promise<void> {
    if (this.#waiting >= MAX_WAITING) throw tooMany();
    this.#waiting += 1;
    try {
      await Promise.all(this.#sources.map((source) => source.lacking()));
    } finally {
      this.#waiting -= 1;
    }
  }

  /** @returns whose token it is, or what is wrong with it; null: none of the keys has signed it */
  async #verifyWith(
    keys: readonly JwtKey[],
    token: string,
    digest: string,
  ): Promise<Principal | string | null> {
    for (const key of keys) {
      try {
        const claims = await this.#claimsOf(token, key);
        const owner = ownerOf(claims, signedDigest(token), this.#world.now(), this.#settings.jwtMaxAge);
        return key.isGone
          ? 'its key has gone'
          : this.#remember(digest, new Principal({ ...owner, signer: key }, () => this.#world.now()));
      } catch (error) {
        // Another key with the same ID may have signed it.
        if (error instanceof errors.JWSSignatureVerificationFailed) continue;
        if (error instanceof errors.JOSEError || error instanceof ClaimError) return error.message;
        throw error;
      }
    }
    return null;
  }

  async #claimsOf(token: string, { key, algorithm }: JwtKey): Promise<JWTPayload> {
    const { jwtAudience: audience, jwtIssuer: issuer } = this.#settings;
    const { payload } = await jwtVerify(token, key, {
      algorithms: [algorithm],
      audience: audience ?? [],
      ...(issuer === null ? {} : { issuer }),
      clockTolerance: LEEWAY_SECONDS,
      currentDate: new Date(this.#world.now()),
      requiredClaims: ['exp'],
    });
    plainObject(partOf(token, 1), 'what it claims');
    return payload;
  }

  #keysFor(alg: unknown, kid: string | undefined): readonly JwtKey[] {
    return this.#sources
      .flatMap(({ keys }) => keys)
      .filter((key) => key.algorithm === alg && (kid === undefined || key.kid === null || key.kid === kid));
  }

  #remember(digest: string, principal: Principal): Principal {
    if (this.#verified.size >= MAX_VERIFIED) {
      const [oldest] = this.#verified.keys();
      if (oldest !== undefined) this.#verified.delete(oldest);
    }
    this.#verified.set(digest, principal);
    return principal;
  }
}

function tooMany(): LimitProblem {
  return new LimitProblem('too many new tokens have come at once', 1);
}

/** @returns the places that the settings name */
export function placesOf({ jwtJwks, jwtKeyFile }: JwtSettings): readonly KeyPlace[] {
  return [
    { flag: '--jwt-jwks', place: jwtJwks, isSet: true },
    { flag: '--jwt-key-file', place: jwtKeyFile, isSet: false },
  ].flatMap(({ place, ...rest }) => (place === null ? [] : [{ ...rest, place }]));
}

/** @returns a hash of the text that is signed: some algorithms allow several signatures of one text, and all of them are one token */
function signedDigest(token: string): string {
  return tokenDigest(token.slice(0, token.lastIndexOf('.')));
}

/** Whether the bits after the last byte of the signature are 0; a decoder ignores them. */
function hasCanonicalSignature(token: string): boolean {
  const signature = token.slice(token.lastIndexOf('.') + 1);
  return Buffer.from(signature, 'base64url').toString('base64url') === signature;
}

/** @returns the bytes of the header (0) or of the claims (1) */
function partOf(token: string, index: 0 | 1): Buffer {
  return Buffer.from(token.split('.', 2)[index] ?? '', 'base64url');
}

/** @returns the header, or what is wrong with it */
function headerOf(token: string): Readonly<Record<string, unknown>> | string {
  try {
    return plainObject(partOf(token, 0), 'its header');
  } catch (error) {
    if (error instanceof ClaimError) return error.message;
    throw error;
  }
}
