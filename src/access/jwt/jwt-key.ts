/**
 * The keys that verify JWTs. Each key is good for one algorithm, which its own kind decides and never the token: so a public
 * key is never taken for the secret of an HMAC.
 */
import { createHash, createPublicKey, createSecretKey, type JsonWebKey, type KeyObject } from 'node:crypto';
import { JsonError, parseJson } from '../../keyspace/json/json.ts';
import { messageOf } from '../../node/ports/failures.ts';
import type { Signer } from '../principal.ts';

export type Algorithm = 'EdDSA' | 'ES256' | 'RS256' | 'HS256';

/** Largest number of keys of one source: a token without a key ID is tried with each. */
export const MAX_KEYS = 20;
/** Shortest RSA key and shortest secret, in bits (RFC 7518, 3.2 and 3.3). */
const MIN_RSA_BITS = 2_048;
const MIN_SECRET_BITS = 256;

/** A key that verifies tokens. */
export class JwtKey implements Signer {
  /** Tells the key from others. */
  readonly form: string;
  readonly algorithm: Algorithm;
  /** Key ID; null: the key is for tokens with any key ID. */
  readonly kid: string | null;
  readonly key: KeyObject;
  #isGone = false;

  constructor(algorithm: Algorithm, kid: string | null, key: KeyObject) {
    const bytes = key.type === 'secret' ? key.export() : key.export({ type: 'spki', format: 'der' });
    this.form = `${algorithm} ${kid ?? ''} ${createHash('sha256').update(bytes).digest('hex')}`;
    this.algorithm = algorithm;
    this.kid = kid;
    this.key = key;
  }

  get isGone(): boolean {
    return this.#isGone;
  }

  /** Ends what the key has signed. */
  retire(): void {
    this.#isGone = true;
  }
}

/** The keys cannot be used; the message says why. */
export class KeyError extends Error {}

/**
 * Reads a key file: PEM with public keys, a JWK or a JWKS.
 * @throws KeyError if any of its keys cannot be used
 */
export function keysOfFile(text: string): readonly JwtKey[] {
  if (text.includes('-----BEGIN')) return bounded(pemKeys(text));
  const parsed = parsedJson(text);
  const keys = Array.isArray(parsed.keys) ? parsed.keys : [parsed];
  return bounded(keys.map((each) => keyOf(each, true)));
}

/**
 * Reads a JWKS. Keys of other kinds and for other purposes are no error (RFC 7517, 5): other services may use them.
 * @returns those that can be used, maybe none: whoever has removed all others wants their tokens to end
 * @throws KeyError if it is no JWKS, or too large
 */
export function keysOfSet(text: string): readonly JwtKey[] {
  const { keys } = parsedJson(text);
  if (!Array.isArray(keys)) throw new KeyError('expected {"keys": [...]}');
  const usable: JwtKey[] = [];
  for (const each of keys.slice(0, MAX_KEYS + 1)) {
    try {
      usable.push(keyOf(each, false));
    } catch (error) {
      if (!(error instanceof KeyError)) throw error;
    }
  }
  if (keys.length > MAX_KEYS) throw new KeyError(`it has more than ${MAX_KEYS} keys`);
  return usable;
}

function bounded(keys: readonly JwtKey[]): readonly JwtKey[] {
  if (keys.length > MAX_KEYS) throw new KeyError(`it has more than ${MAX_KEYS} keys`);
  return keys;
}

function parsedJson(text: string): Readonly<Record<string, unknown>> {
  let parsed: unknown;
  try {
    parsed = parseJson(Buffer.from(text));
  } catch (error) {
    if (!(error instanceof JsonError)) throw error;
    throw new KeyError(`expected PEM, a JWK or a JWKS: ${error.detail}`);
  }
  if (typeof parsed !== 'object' || parsed === null) throw new KeyError('expected a JWK or a JWKS');
  return parsed as Readonly<Record<string, unknown>>;
}

const PEM = /-----BEGIN ([A-Z ]+)-----[^-]+-----END \1-----/g;

function pemKeys(text: string): readonly JwtKey[] {
  const keys: JwtKey[] = [];
  for (const [pem, label] of text.matchAll(PEM)) {
    if (label !== 'PUBLIC KEY') throw new KeyError(`expected a PUBLIC KEY, and there is a ${label}`);
    const key = imported(() => createPublicKey(pem));
    keys.push(new JwtKey(algorithmOf(key), null, key));
  }
  if (keys.length === 0) throw new KeyError('there is no whole PEM in it');
  return keys;
}

/** @param maySecret whether a symmetric key is allowed */
function keyOf(jwk: unknown, maySecret: boolean): JwtKey {
  if (typeof jwk !== 'object' || jwk === null) throw new KeyError('a key is no JSON object');
  const { kty, kid, alg, use, key_ops: operations, d, k } = jwk as Readonly<Record<string, unknown>>;
  if (kid !== undefined && typeof kid !== 'string') throw new KeyError('"kid" is no text');
  if (use !== undefined && use !== 'sig') throw new KeyError('the key is not for signatures');
  if (operations !== undefined && !(Array.isArray(operations) && operations.includes('verify'))) {
    throw new KeyError('the key is not for verifying');
  }
  if (kty === 'oct' && !maySecret) throw new KeyError('a secret does not belong into a JWKS');
  if (kty === 'oct' && !(typeof k === 'string' && /^[\w-]+$/.test(k))) throw new KeyError('"k" is no secret');
  if (d !== undefined) throw new KeyError('it is a private key; the node needs the public one');
  const key =
    kty === 'oct'
      ? createSecretKey(String(k), 'base64url')
      : imported(() => createPublicKey({ key: jwk as JsonWebKey, format: 'jwk' }));
  const algorithm = algorithmOf(key);
  if (alg !== undefined && alg !== algorithm) throw new KeyError(`"alg" is not ${algorithm}`);
  return new JwtKey(algorithm, kid ?? null, key);
}

function imported(make: () => KeyObject): KeyObject {
  try {
    return make();
  } catch (error) {
    throw new KeyError(`it is no public key: ${messageOf(error)}`);
  }
}

/** @returns the one algorithm that the key is used with @throws KeyError */
function algorithmOf(key: KeyObject): Algorithm {
  if (key.type === 'secret') {
    if ((key.symmetricKeySize ?? 0) * 8 >= MIN_SECRET_BITS) return 'HS256';
    throw new KeyError(`a secret needs ${MIN_SECRET_BITS} bits`);
  }
  const { namedCurve, modulusLength = 0 } = key.asymmetricKeyDetails ?? {};
  if (key.asymmetricKeyType === 'ed25519') return 'EdDSA';
  if (key.asymmetricKeyType === 'ec' && namedCurve === 'prime256v1') return 'ES256';
  if (key.asymmetricKeyType === 'rsa') {
    if (modulusLength >= MIN_RSA_BITS) return 'RS256';
    throw new KeyError(`an RSA key needs ${MIN_RSA_BITS} bits`);
  }
  throw new KeyError('expected a key for EdDSA, ES256 or RS256');
}
