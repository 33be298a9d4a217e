/** The names by which a certificate is found in the list of tokens. */
import type { X509Certificate } from 'node:crypto';
import { asciiLowerCase } from '../access/ascii-case.ts';

/** Matches one name, as Node writes them: one with special characters stands in quotes, like JSON. */
const NAME = /([A-Za-z][A-Za-z0-9 ]*):("(?:[^"\\]|\\.)*"|[^,]*)(?:, |$)/y;

/**
 * @returns URIs, then DNS names in lower case, each in the order of the certificate; its common name only if it has no
 * alternative names of any kind (RFC 6125, 6.4.4). Only URIs have a colon, so that no other name passes for one.
 */
export function namesOf(certificate: X509Certificate): readonly string[] {
  const { subjectAltName } = certificate;
  if (subjectAltName === undefined) return commonName(certificate);
  const names = alternativeNames(subjectAltName);
  const uris = names.filter(([kind, name]) => kind === 'URI' && name.includes(':')).map(([, name]) => name);
  const hosts = names
    .filter(([kind, name]) => kind === 'DNS' && isHost(name))
    .map(([, name]) => asciiLowerCase(name));
  return [...uris, ...hosts];
}

/** @returns kind and name of each; nothing behind one that cannot be read */
function alternativeNames(text: string): readonly (readonly [string, string])[] {
  const names: (readonly [string, string])[] = [];
  NAME.lastIndex = 0;
  for (let match = NAME.exec(text); match !== null && match[0] !== ''; match = NAME.exec(text)) {
    const [, kind = '', name = ''] = match;
    try {
      names.push([kind, name.startsWith('"') ? String(JSON.parse(name)) : name]);
    } catch {
      return names;
    }
  }
  return names;
}

/** @returns no name if the subject has several common names */
function commonName(certificate: X509Certificate): readonly string[] {
  const { subject } = certificate.toLegacyObject();
  const name: unknown = (subject as { readonly CN?: unknown } | undefined)?.CN;
  return typeof name === 'string' && isHost(name) ? [asciiLowerCase(name)] : [];
}

function isHost(name: string): boolean {
  return name !== '' && !name.includes(':');
}
