/** Says in the log that a certificate expires: 14, 7 and 1 days before, and when it has. */
import type { X509Certificate } from 'node:crypto';
import type { Log } from '../node/ports/world.ts';

const DAY_MS = 86_400_000;
/** Days before the end at which the log says so. */
const WARN_DAYS = [14, 7, 1, 0] as const;

export class ExpiryWarning {
  readonly #log: Log;
  readonly #path: string;
  #certificate: X509Certificate | null = null;
  /** Days of the last warning about this certificate. */
  #told = Number.POSITIVE_INFINITY;

  /** @param path of the certificate */
  constructor(log: Log, path: string) {
    this.#log = log;
    this.#path = path;
  }

  /**
   * Logs a line if one is due.
   * @param certificate in use; a new one is warned about anew
   * @param now Unix time in milliseconds
   */
  look(certificate: X509Certificate, now: number): void {
    if (certificate.fingerprint256 !== this.#certificate?.fingerprint256)
      this.#told = Number.POSITIVE_INFINITY;
    this.#certificate = certificate;
    const validTo = certificate.validToDate;
    const leftMs = validTo.getTime() - now;
    const due = WARN_DAYS.findLast((days) => leftMs <= days * DAY_MS);
    if (due === undefined || due >= this.#told) return;
    this.#told = due;
    const fields = { file: this.#path, validTo: validTo.toISOString() };
    if (due === 0) this.#log.error('tls-certificate-expired', fields);
    else this.#log.warn('tls-certificate-expires', { ...fields, days: Math.floor(leftMs / DAY_MS) });
  }
}
