/** A certificate with its private key, checked before anything uses them. */
import type { X509Certificate } from 'node:crypto';
import { certificatesOf, type NamedFile, privateKeyOf, readPem, TlsFileError } from './pem.ts';

export interface KeyPair {
  /** PEM: the certificate, and those between it and its CA. */
  readonly cert: Buffer;
  /** PEM. */
  readonly key: Buffer;
  readonly certificate: X509Certificate;
}

/**
 * Reads both files and checks that they belong together and are valid now.
 * @param now Unix time in milliseconds
 * @throws TlsFileError
 */
export function readKeyPair(certFile: NamedFile, keyFile: NamedFile, now: number): KeyPair {
  const [cert, key] = [readPem(certFile), readPem(keyFile)];
  const [certificate] = certificatesOf(certFile, cert) as readonly [X509Certificate];
  const { validFromDate, validToDate } = certificate;
  if (!certificate.checkPrivateKey(privateKeyOf(keyFile, key))) {
    const reason = 'it is not the key of the certificate in';
    throw new TlsFileError(keyFile, `${reason} ${certFile.path}`, `${reason} ${certFile.flag}`);
  }
  if (validFromDate.getTime() > now) {
    throw new TlsFileError(certFile, `the certificate is not valid before ${validFromDate.toISOString()}`);
  }
  if (validToDate.getTime() <= now) {
    throw new TlsFileError(certFile, `the certificate has expired at ${validToDate.toISOString()}`);
  }
  try {
    // An import statement would load all CAs that Node knows at every start.
    process.getBuiltinModule('node:tls').createSecureContext({ cert, key });
  } catch (error) {
    // OpenSSL refuses short keys, for example.
    throw new TlsFileError(certFile, reasonOf(error));
  }
  return { cert, key, certificate };
}

/** @returns the reason in an error of OpenSSL, such as `ee key too small` */
function reasonOf(error: unknown): string {
  if (error instanceof Error && 'reason' in error) return String(error.reason);
  return error instanceof Error ? (error.message.split('\n')[0] ?? '') : String(error);
}
