/** Who issues JWTs for a test: a key pair, and tokens signed with it. */
import { KeyObject, sign, type webcrypto } from 'node:crypto';
import { exportJWK, exportSPKI, generateKeyPair, type JWK, SignJWT } from 'jose';

export const AUDIENCE = 'psyncd-test';

export interface Claims {
  readonly psyncd?: unknown;
  readonly [claim: string]: unknown;
}

export class Issuer {
  readonly algorithm: 'EdDSA' | 'ES256' | 'RS256';
  readonly kid: string;
  readonly #privateKey: webcrypto.CryptoKey;
  readonly #publicKey: webcrypto.CryptoKey;

  private constructor(
    algorithm: Issuer['algorithm'],
    kid: string,
    keys: { readonly privateKey: webcrypto.CryptoKey; readonly publicKey: webcrypto.CryptoKey },
  ) {
    this.algorithm = algorithm;
    this.kid = kid;
    this.#privateKey = keys.privateKey;
    this.#publicKey = keys.publicKey;
  }

  static async create(algorithm: Issuer['algorithm'] = 'EdDSA', kid = 'k1'): Promise<Issuer> {
    return new Issuer(algorithm, kid, await generateKeyPair(algorithm, { extractable: true }));
  }

  pem(): Promise<string> {
    return exportSPKI(this.#publicKey);
  }

  async jwk(): Promise<JWK> {
    return { ...(await exportJWK(this.#publicKey)), kid: this.kid, alg: this.algorithm };
  }

  privateJwk(): Promise<JWK> {
    return exportJWK(this.#privateKey);
  }

  /**
   * @param claims beside those of a good token, or instead of them; undefined leaves one out
   * @param header the same for the protected header
   */
  sign(claims: Claims = {}, header: Readonly<Record<string, unknown>> = {}): Promise<string> {
    const now = Math.floor(Date.now() / 1_000);
    const payload = {
      aud: AUDIENCE,
      sub: 'someone',
      iat: now,
      exp: now + 600,
      psyncd: { rights: ['read', 'write'] },
      ...claims,
    };
    return new SignJWT(payload)
      .setProtectedHeader({ alg: this.algorithm, kid: this.kid, ...header })
      .sign(this.#privateKey);
  }

  /** Signs any bytes as header and claims, with an Ed25519 key. */
  signBytes(header: Buffer, claims: Buffer): string {
    const signed = `${header.toString('base64url')}.${claims.toString('base64url')}`;
    const signature = sign(null, Buffer.from(signed), KeyObject.from(this.#privateKey));
    return `${signed}.${signature.toString('base64url')}`;
  }
}

/** @returns a token put together by hand: what no honest issuer makes */
export function forged(header: object, claims: object, signature = ''): string {
  const text = (part: object): string => Buffer.from(JSON.stringify(part)).toString('base64url');
  return `${text(header)}.${text(claims)}.${signature}`;
}
