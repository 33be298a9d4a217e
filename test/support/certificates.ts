/** CAs and certificates of a test, made with openssl in a temporary folder. */
import { execFileSync } from 'node:child_process';
import { copyFileSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { temporaryFolder } from './cluster.ts';

/** Paths of PEM files. */
export interface Pair {
  readonly cert: string;
  readonly key: string;
}

interface Wanted {
  /** Name of the CA; itself, if the certificate is signed with its own key. */
  readonly ca?: string;
  /** Subject alternative names, as openssl writes them. */
  readonly san?: string | null;
  /** Days from now until it is valid, and until it is not. */
  readonly fromDays?: number;
  readonly toDays?: number;
  readonly isCa?: boolean;
  /** Further lines of the file of extensions. */
  readonly more?: string;
}

const DAY_MS = 86_400_000;
/** Names of a node on this machine. */
export const LOCAL_NAMES = 'IP:127.0.0.1,DNS:localhost';

export class Certificates {
  readonly folder: string;

  private constructor(folder: string) {
    this.folder = folder;
  }

  /** The CA `ca` is there. */
  static async create(t: TestContext): Promise<Certificates> {
    const certificates = new Certificates(await temporaryFolder(t));
    certificates.ca('ca');
    return certificates;
  }

  path(name: string): string {
    return join(this.folder, name);
  }

  /** Makes a CA. @returns its files */
  ca(name: string): Pair {
    return this.make(name, { ca: name, san: null, isCa: true });
  }

  /** Makes a key and its certificate. @param name also the common name */
  make(name: string, wanted: Wanted = {}): Pair {
    const { ca = 'ca', san = LOCAL_NAMES, fromDays = 0, toDays = 30, isCa = false, more = '' } = wanted;
    const [cert, key, request] = [
      this.path(`${name}.crt`),
      this.path(`${name}.key`),
      this.path(`${name}.csr`),
    ];
    const config = this.path('openssl.cnf');
    const extensions = this.path(`${name}.ext`);
    writeFileSync(config, CONFIG(this.folder));
    writeFileSync(this.path('index.txt'), '');
    writeFileSync(
      extensions,
      `basicConstraints=critical,CA:${isCa}\nsubjectKeyIdentifier=hash\n${san === null ? '' : `subjectAltName=${san}\n`}${more}`,
    );
    openssl('ecparam', '-name', 'prime256v1', '-genkey', '-noout', '-out', key);
    openssl('req', '-new', '-config', config, '-key', key, '-subj', `/CN=${name}`, '-out', request);
    const signer =
      ca === name
        ? ['-selfsign', '-keyfile', key]
        : ['-keyfile', this.path(`${ca}.key`), '-cert', this.path(`${ca}.crt`)];
    const dates = ['-startdate', dateIn(fromDays), '-enddate', dateIn(toDays)];
    const files = ['-config', config, '-extfile', extensions, '-in', request, '-out', cert];
    openssl('ca', '-batch', '-notext', ...signer, ...dates, ...files);
    return { cert, key };
  }

  /** Puts copies of the files in the place of `to`, each by a rename. */
  replace(to: Pair, from: Pair): void {
    replaceFile(to.cert, readFileSync(from.cert));
    replaceFile(to.key, readFileSync(from.key));
  }

  /** Copies a pair, so that a test can exchange it. */
  copy(pair: Pair, name: string): Pair {
    const copied = { cert: this.path(`${name}.crt`), key: this.path(`${name}.key`) };
    copyFileSync(pair.cert, copied.cert);
    copyFileSync(pair.key, copied.key);
    return copied;
  }

  /** @returns a PEM file with several certificates */
  bundle(name: string, ...parts: readonly string[]): string {
    const path = this.path(`${name}.crt`);
    replaceFile(path, Buffer.concat(parts.map((part) => readFileSync(part))));
    return path;
  }
}

/** Replaces a file as a careful operator does: a reader finds the old one or the new one. */
export function replaceFile(path: string, content: string | Buffer): void {
  writeFileSync(`${path}.new`, content);
  renameSync(`${path}.new`, path);
}

/** The flags of a node with this certificate. */
export function tlsFlags({ cert, key }: Pair): readonly string[] {
  return ['--tls-cert', cert, '--tls-key', key];
}

export function openssl(...words: readonly string[]): void {
  execFileSync('openssl', words, { stdio: ['ignore', 'ignore', 'pipe'] });
}

/** @returns the moment as `YYYYMMDDHHMMSSZ` */
function dateIn(days: number): string {
  return `${new Date(Date.now() + days * DAY_MS).toISOString().replace(/[-:T]|\..*$/g, '')}Z`;
}

const CONFIG = (folder: string): string => `
[req]
distinguished_name = name
[name]
[ca]
default_ca = here
[here]
dir = ${folder}
database = ${folder}/index.txt
new_certs_dir = ${folder}
rand_serial = yes
default_md = sha256
unique_subject = no
policy = any
[any]
commonName = supplied
`;
