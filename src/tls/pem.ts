/** Certificates and keys in PEM files. Whatever a file holds, the error names the setting, the file and what is wrong with it. */
import { createPrivateKey, type KeyObject, X509Certificate } from 'node:crypto';
import { messageOf, toldOf } from '../node/ports/failures.ts';
import { readSmallFile } from '../runtime/small-file.ts';

/** Largest PEM file, in bytes: a bundle of all public CAs has a quarter of that. */
const MAX_PEM_BYTES = 1024 * 1024;
const BEGIN = '-----BEGIN CERTIFICATE-----';
const END = '-----END CERTIFICATE-----';
/** Begins what is DER: a sequence in ASN.1. */
const DER_SEQUENCE = 0x30;

/** A file and the setting that names it. */
export interface NamedFile {
  /** Such as `--tls-cert`. */
  readonly flag: string;
  readonly path: string;
}

/** A file cannot be used for TLS. The message is one line that names the setting and the file: it is for the operator. */
export class TlsFileError extends Error {
  /** The same for clients: it names the setting and no path. */
  readonly told: string;

  /** @param told the reason without paths */
  constructor({ flag, path }: NamedFile, reason: string, told = reason) {
    super(`${flag} ${path}: ${reason}`);
    this.told = `${flag}: ${told}`;
  }
}

/** @throws TlsFileError if the file cannot be read, is empty or is too large */
export function readPem(file: NamedFile): Buffer {
  const bytes = contentOf(file);
  if (bytes.length === 0) throw new TlsFileError(file, 'it is empty');
  if (bytes[0] === DER_SEQUENCE) throw new TlsFileError(file, 'it is DER; psyncd takes PEM');
  return bytes;
}

/**
 * @param bytes content of the file
 * @param most largest number of certificates
 * @returns its certificates in their order, at least one
 * @throws TlsFileError
 */
export function certificatesOf(
  file: NamedFile,
  bytes: Buffer,
  most = Number.POSITIVE_INFINITY,
): readonly X509Certificate[] {
  const text = bytes.toString('latin1');
  const certificates: X509Certificate[] = [];
  for (let begin = text.indexOf(BEGIN); begin !== -1; begin = text.indexOf(BEGIN, begin + 1)) {
    const end = text.indexOf(END, begin);
    const number = certificates.length + 1;
    if (number > most) throw new TlsFileError(file, `it has more than ${most} certificates`);
    if (end === -1) throw new TlsFileError(file, `certificate ${number} has no end`);
    try {
      certificates.push(new X509Certificate(text.slice(begin, end + END.length)));
    } catch {
      throw new TlsFileError(file, `certificate ${number} cannot be read`);
    }
  }
  if (certificates.length === 0) throw new TlsFileError(file, `it has no certificate in PEM (${BEGIN})`);
  return certificates;
}

/**
 * @param bytes content of the file
 * @throws TlsFileError also for a key that needs a pass phrase
 */
export function privateKeyOf(file: NamedFile, bytes: Buffer): KeyObject {
  try {
    return createPrivateKey({ key: bytes, format: 'pem' });
  } catch {
    const isEncrypted = /^-----BEGIN ENCRYPTED|^Proc-Type: 4,ENCRYPTED/m.test(bytes.toString('latin1'));
    throw new TlsFileError(
      file,
      isEncrypted
        ? 'the key needs a pass phrase; psyncd takes a key without one'
        : 'it has no private key in PEM',
    );
  }
}

function contentOf(file: NamedFile): Buffer {
  try {
    return readSmallFile(file.path, MAX_PEM_BYTES);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT') throw new TlsFileError(file, 'there is no such file');
    // What is no error of the system is a reason of psyncd's own, without the path.
    const told = code === undefined ? messageOf(error) : toldOf(error);
    throw new TlsFileError(file, messageOf(error), told);
  }
}
