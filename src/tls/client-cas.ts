/** The CAs whose clients may connect. */
import type { X509Certificate } from 'node:crypto';
import type { Turns } from '../node/turns.ts';
import { certificatesOf, type NamedFile, readPem, TlsFileError } from './pem.ts';

/**
 * Largest number of CAs of clients. The node tells their names in each handshake, and to read them holds up all else: a hundred take some
 * 15 ms.
 */
export const MAX_CLIENT_CAS = 100;

export interface ClientCas {
  readonly pem: Buffer;
  readonly certificates: readonly X509Certificate[];
}

/** @throws TlsFileError */
export function readClientCas(file: NamedFile): ClientCas {
  const pem = readPem(file);
  const certificates = certificatesOf(file, pem, MAX_CLIENT_CAS);
  try {
    // An import statement would load all CAs that Node knows at every start.
    process.getBuiltinModule('node:tls').createSecureContext({ ca: [pem] });
  } catch (error) {
    throw new TlsFileError(
      file,
      error instanceof Error ? (error.message.split('\n')[0] ?? '') : String(error),
    );
  }
  return { pem, certificates };
}

/** Whether the CA counts at that moment, in milliseconds of Unix time. */
export function isValid({ validFromDate, validToDate }: X509Certificate, now: number): boolean {
  return validFromDate.getTime() <= now && validToDate.getTime() > now;
}

/** @returns those that OpenSSL would trust: CAs that have signed themselves, and those with a chain to one of these in the list */
export async function rootedOf(
  cas: readonly X509Certificate[],
  turns: Turns,
): Promise<readonly X509Certificate[]> {
  const rooted: X509Certificate[] = [];
  let others: X509Certificate[] = [];
  for (const ca of cas) {
    await turns.next();
    if (ca.checkIssued(ca) && ca.verify(ca.publicKey)) rooted.push(ca);
    else others.push(ca);
  }
  // The list grows while it is read.
  for (const ca of rooted) {
    await turns.next();
    const signed = others.filter((other) => isSignedBy(other, ca));
    others = others.filter((other) => !signed.includes(other));
    rooted.push(...signed);
  }
  return rooted;
}

/** Whether the certificate is that of the CA, or signed by it. */
export function isSignedBy(certificate: X509Certificate, ca: X509Certificate): boolean {
  if (certificate.fingerprint256 === ca.fingerprint256) return true;
  return certificate.checkIssued(ca) && certificate.verify(ca.publicKey);
}
