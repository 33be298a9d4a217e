/** What a listener with TLS reads from its files, and what Node's TLS server gets of that. */
import { createHash, type X509Certificate } from 'node:crypto';
import type { SecureContextOptions, SecureVersion } from 'node:tls';
import type { TlsSettings } from '../settings/table.ts';
import { readKeyPair } from './key-pair.ts';
import { certificatesOf, type NamedFile, readPem } from './pem.ts';

/** Settings of a listener with TLS. */
export type ListenerTlsSettings = TlsSettings & {
  readonly tlsCert: string;
  readonly tlsKey: string;
};

export interface ListenerFiles {
  /** All options of the secure context: Node forgets those that a change does not repeat. */
  readonly context: SecureContextOptions;
  readonly certificate: X509Certificate;
  /** Digest of all of it. */
  readonly digest: string;
  /** CAs whose clients may connect. */
  readonly clientCas: readonly X509Certificate[];
}

/**
 * @param now Unix time in milliseconds
 * @throws TlsFileError for the first file that cannot be used
 */
export function readListenerFiles(settings: ListenerTlsSettings, now: number): ListenerFiles {
  const [certFile, keyFile, caFile] = filesOf(settings);
  const { certificate, cert, key } = readKeyPair(certFile, keyFile, now);
  const ca = caFile === null ? null : readPem(caFile);
  const minVersion: SecureVersion = `TLSv${settings.tlsMinVersion}`;
  return {
    context: { cert, key, minVersion, ...(ca === null ? {} : { ca: [ca] }) },
    certificate,
    digest: digestOf([cert, key, ...(ca === null ? [] : [ca])]),
    clientCas: ca === null || caFile === null ? [] : certificatesOf(caFile, ca),
  };
}

/** @returns the files of the settings: certificate, key, and the CAs of clients if there are any */
export function filesOf({
  tlsCert,
  tlsKey,
  tlsClientCa,
}: ListenerTlsSettings): readonly [NamedFile, NamedFile, NamedFile | null] {
  return [
    { flag: '--tls-cert', path: tlsCert },
    { flag: '--tls-key', path: tlsKey },
    tlsClientCa === null ? null : { flag: '--tls-client-ca', path: tlsClientCa },
  ];
}

function digestOf(contents: readonly Buffer[]): string {
  const hash = createHash('sha256');
  for (const content of contents) hash.update(createHash('sha256').update(content).digest());
  return hash.digest('hex');
}
