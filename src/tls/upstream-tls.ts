/** TLS of the connections to other nodes: what this node trusts, what it shows, and what is wrong when a handshake fails. */
import { createHash } from 'node:crypto';
import type { SecureContext } from 'node:tls';
import type { Log, World } from '../node/ports/world.ts';
import type { UpstreamSettings } from '../settings/table.ts';
import { ExpiryWarning } from './expiry-warning.ts';
import { type KeyPair, readKeyPair } from './key-pair.ts';
import { certificatesOf, type NamedFile, readPem } from './pem.ts';

/** The wrong peer speaks: no TLS, or something else altogether. */
const NOT_TLS: ReadonlySet<string> = new Set([
  'ERR_SSL_WRONG_VERSION_NUMBER',
  'ERR_SSL_PACKET_LENGTH_TOO_LONG',
  'ERR_SSL_UNEXPECTED_MESSAGE',
  'ERR_SSL_RECORD_LAYER_FAILURE',
]);
/** Codes of Node for certificates that are not trusted. */
const NOT_TRUSTED =
  /^(?:UNABLE_TO_|CERT_|CRL_|ERROR_IN_|DEPTH_ZERO_|SELF_SIGNED_|INVALID_CA$|INVALID_PURPOSE$|PATH_LENGTH_|HOSTNAME_MISMATCH$)/;
/** Codes for a certificate that another CA would not help. */
const ABOUT_TIME: ReadonlySet<string> = new Set(['CERT_HAS_EXPIRED', 'CERT_NOT_YET_VALID']);

export class UpstreamTls {
  readonly #ca: NamedFile | null;
  readonly #isCaOnly: boolean;
  readonly #pair: readonly [NamedFile, NamedFile] | null;
  readonly #world: Pick<World, 'now'>;
  readonly #warning: ExpiryWarning;
  /** The last context, and the digest of what it was made of: to make one takes 30 ms with the CAs of the system. */
  #context: SecureContext | null = null;
  #digest = '';

  constructor(settings: UpstreamSettings, world: Pick<World, 'now'>, log: Log) {
    const { upstreamCa, upstreamCert, upstreamKey } = settings;
    this.#ca = upstreamCa === null ? null : { flag: '--upstream-ca', path: upstreamCa };
    this.#pair =
      upstreamCert === null || upstreamKey === null
        ? null
        : [
            { flag: '--upstream-cert', path: upstreamCert },
            { flag: '--upstream-key', path: upstreamKey },
          ];
    this.#isCaOnly = settings.upstreamCaOnly;
    this.#world = world;
    this.#warning = new ExpiryWarning(log, upstreamCert ?? '');
  }

  /** Whether this node shows a certificate. */
  get isShown(): boolean {
    return this.#pair !== null;
  }

  /**
   * Reads the files, to be called for each connection.
   * @returns options of `tls.connect`
   * @throws TlsFileError if a file cannot be used
   */
  options(): { readonly secureContext: SecureContext; readonly rejectUnauthorized: true } {
    const ca = this.#ca === null ? null : readPem(this.#ca);
    const pair = this.#pair === null ? null : readKeyPair(...this.#pair, this.#world.now());
    if (pair !== null) this.#warning.look(pair.certificate, this.#world.now());
    const digest = digestOf([ca, pair?.cert, pair?.key]);
    if (this.#context === null || digest !== this.#digest) {
      this.#context = this.#made(ca, pair);
      this.#digest = digest;
    }
    // Without it NODE_TLS_REJECT_UNAUTHORIZED would decide.
    return { secureContext: this.#context, rejectUnauthorized: true };
  }

  /**
   * @param error of a connection that was not established
   * @returns what is wrong with the TLS of the two nodes, without paths, because clients are told it; null: something else
   */
  problem(error: Error & { readonly code?: unknown; readonly reason?: unknown }): string | null {
    const code = String(error.code ?? '');
    if (NOT_TLS.has(code) || (code === 'EPROTO' && /wrong version number/.test(error.message))) {
      return 'the upstream does not speak TLS: its URL begins with ws://';
    }
    if (code === 'ERR_TLS_CERT_ALTNAME_INVALID') {
      return `the certificate of the upstream is for another name: ${String(error.reason ?? error.message)}`;
    }
    if (NOT_TRUSTED.test(code)) {
      const why = `the certificate of the upstream is not trusted: ${error.message} (${code})`;
      return ABOUT_TIME.has(code) ? why : `${why}; ${this.#trustHint}`;
    }
    if (!/^ERR_(?:SSL|TLS)_|^EPROTO$/.test(code)) return null;
    const why = `the TLS handshake with the upstream failed: ${String(error.reason ?? code)}`;
    return /CERT|UNKNOWN_CA/.test(code) ? `${why}; ${this.#certificateHint}` : why;
  }

  /** What may be wrong when the other side has closed the connection in the handshake without a reason; empty: nothing of TLS. */
  get suspicion(): string {
    return this.#pair === null ? '' : `; the upstream may not trust the certificate of ${this.#pair[0].flag}`;
  }

  #made(ca: Buffer | null, pair: KeyPair | null): SecureContext {
    if (ca !== null && this.#ca !== null) certificatesOf(this.#ca, ca);
    // An import statement would load all CAs that Node knows at every start.
    const { createSecureContext, getCACertificates } = process.getBuiltinModule('node:tls');
    const others = this.#isCaOnly ? [] : [...getCACertificates('default'), ...getCACertificates('system')];
    return createSecureContext({
      ca: [...new Set(others), ...(ca === null ? [] : [ca])],
      ...(pair === null ? {} : { cert: pair.cert, key: pair.key }),
    });
  }

  get #trustHint(): string {
    if (this.#ca === null) return '--upstream-ca FILE names its CA';
    return `the file of ${this.#ca.flag} does not have its CA`;
  }

  get #certificateHint(): string {
    if (this.#pair === null) return '--upstream-cert FILE shows one';
    return `this node shows the certificate of ${this.#pair[0].flag}`;
  }
}

function digestOf(contents: readonly (Buffer | null | undefined)[]): string {
  const hash = createHash('sha256');
  for (const content of contents) {
    hash.update(
      createHash('sha256')
        .update(content ?? '')
        .digest(),
    );
  }
  return hash.digest('hex');
}
