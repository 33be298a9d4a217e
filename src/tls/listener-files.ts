/** What a listener with TLS reads from its files, and what Node's TLS server gets of that. */
import { constants, createHash } from 'node:crypto';
import type { SecureContextOptions, SecureVersion } from 'node:tls';
import type { TlsSettings } from '../settings/table.ts';
import { type ClientCas, readClientCas } from './client-cas.ts';
import { type KeyPair, readKeyPair } from './key-pair.ts';
import type { NamedFile } from './pem.ts';

/** Settings of a listener with TLS. */
export type ListenerTlsSettings = TlsSettings & {
  readonly tlsCert: string;
  readonly tlsKey: string;
};

/** The pair and the CAs are read each on its own, so that one that cannot be used does not hold up the other. */
export interface ListenerFiles {
  readonly pair: KeyPair;
  /** CAs whose clients may connect; null: the settings name none. */
  readonly clientCas: ClientCas | null;
}

/**
 * @param now Unix time in milliseconds
 * @throws TlsFileError for the first file that cannot be used
 */
export function readListenerFiles(settings: ListenerTlsSettings, now: number): ListenerFiles {
  return { pair: readServerPair(settings, now), clientCas: readListenerCas(settings) };
}

/**
 * @param now Unix time in milliseconds
 * @throws TlsFileError
 */
export function readServerPair(settings: ListenerTlsSettings, now: number): KeyPair {
  const [certFile, keyFile] = filesOf(settings);
  return readKeyPair(certFile, keyFile, now);
}

/** @returns null: the settings name no CAs of clients @throws TlsFileError */
export function readListenerCas(settings: ListenerTlsSettings): ClientCas | null {
  const [, , caFile] = filesOf(settings);
  return caFile === null ? null : readClientCas(caFile);
}

/** @returns all options of the secure context: Node forgets those that a change does not repeat */
export function contextOf(
  { tlsMinVersion, tlsClientAuth }: ListenerTlsSettings,
  { pair: { cert, key }, clientCas }: ListenerFiles,
): SecureContextOptions {
  const minVersion: SecureVersion = `TLSv${tlsMinVersion}`;
  const { SSL_OP_NO_RENEGOTIATION, SSL_OP_NO_TICKET } = constants;
  // A client that resumes a session does not show its certificate again, so that nobody would see that it has expired.
  const noTicket = tlsClientAuth === 'no' ? 0 : SSL_OP_NO_TICKET;
  return {
    cert,
    key,
    minVersion,
    // The certificate of a connection stays the one that was checked.
    secureOptions: SSL_OP_NO_RENEGOTIATION | noTicket,
    ...(clientCas === null ? {} : { ca: [clientCas.pem] }),
  };
}

/** Whether both hold the same. */
export function isSame(one: ListenerFiles, other: ListenerFiles): boolean {
  return digestOf(one) === digestOf(other);
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

function digestOf({ pair: { cert, key }, clientCas }: ListenerFiles): string {
  const hash = createHash('sha256');
  for (const content of [cert, key, clientCas?.pem ?? '']) {
    hash.update(createHash('sha256').update(content).digest());
  }
  return hash.digest('hex');
}
