/** How a command reaches a running node: `--node`, what it trusts and what it shows. */
import { isDeepStrictEqual } from 'node:util';
import { type Command, Option } from 'commander';
import { isSendable, readToken } from '../../access/token-reader.ts';
import { baseOf } from '../../client/follow-options.ts';
import type { Token, Transport } from '../../client/request/token.ts';
import type { TlsMaterial } from '../../client-node/transport.ts';
import { messageOf } from '../../node/ports/failures.ts';
import { unknownVariables } from '../../settings/load.ts';
import { UsageError } from '../../settings/parse.ts';
import { printable } from '../output/printable.ts';
import { withBoundedAnswers } from './bounded-answers.ts';
import { CommandClient } from './command-client.ts';

export const DEFAULT_NODE = 'http://127.0.0.1:7796';
/** A command says at once what is wrong, and waits as long as its user does. */
export const PATIENT = { retries: 0, timeoutMs: 2 ** 31 - 1 } as const;

/** How a command reaches its node. */
export interface Reach extends ShownFlags {
  readonly node: string;
}

/** Flags about what a command trusts and shows. */
export interface ShownFlags {
  readonly tokenFile?: string;
  readonly ca?: string;
  readonly cert?: string;
  readonly key?: string;
}

/** Options of psyncd/client that follow from them. */
export interface Shown {
  readonly token: Token | undefined;
  readonly transport: Transport;
}

/** Adds a command that talks to a running node. */
export function nodeCommand(psyncd: Command, name: string): Command {
  const command = psyncd
    .command(name)
    .addOption(new Option('--node <URL>', 'the node').default(DEFAULT_NODE).env('PSYNCD_NODE'));
  return withShown(command).hook('preAction', (command, carriedOut) => {
    if (command === carriedOut) warnOfVariables();
    checkNode(String(command.opts().node));
    handDown(command, carriedOut);
  });
}

/** Tells the user of variables that nothing reads, for example misspelt ones. */
function warnOfVariables(): void {
  for (const name of unknownVariables(process.env)) {
    process.stderr.write(`psyncd: ${printable(name)} is neither a setting nor an option of a command\n`);
  }
}

/**
 * Gives a command within this one the options that the user has named. Commander gives an option that both have to the outer command
 * alone, wherever it stands; the inner one would ask the default node.
 */
function handDown(command: Command, carriedOut: Command): void {
  if (command === carriedOut) return;
  for (const [name, value] of Object.entries(command.opts())) {
    if (command.getOptionValueSource(name) === 'cli') carriedOut.setOptionValueWithSource(name, value, 'cli');
  }
}

/** Adds the flags. The token itself is no flag: everybody on the machine may read the command line of a process. */
export function withShown(command: Command): Command {
  return command
    .option(
      '--token-file <FILE>',
      'file with the token to show; else PSYNCD_TOKEN is the token itself, or PSYNCD_TOKEN_FILE the file',
    )
    .addOption(
      new Option('--ca <FILE>', 'PEM file with the CA of an https:// node, beside those of the system').env(
        'PSYNCD_CA',
      ),
    )
    .addOption(new Option('--cert <FILE>', 'PEM file with a certificate to show').env('PSYNCD_CERT'))
    .addOption(new Option('--key <FILE>', 'PEM file with the key of --cert').env('PSYNCD_KEY'));
}

/** @throws UsageError if a file cannot be used */
export async function clientOf(reach: Reach): Promise<CommandClient> {
  return new CommandClient(reach.node, { ...PATIENT, ...(await shownBy(reach)) });
}

/** @throws UsageError if a file cannot be used */
export async function shownBy(flags: ShownFlags): Promise<Shown> {
  return { token: tokenFor(flags), transport: withBoundedAnswers(await transportFor(flags)) };
}

/**
 * Reads the files for each connection anew, so that they can be exchanged meanwhile; what cannot be used then counts as not changed.
 * @returns undefined: the one of the platform
 * @throws UsageError if a file cannot be used now
 */
async function transportFor(flags: ShownFlags): Promise<Transport | undefined> {
  const { ca, cert, key } = flags;
  if (ca === undefined && cert === undefined && key === undefined) return undefined;
  if ((cert === undefined) !== (key === undefined)) throw new UsageError('--cert and --key need each other');
  const [{ nodeTransport }, { TlsFileError }, read] = await Promise.all([
    import('../../client-node/transport.ts'),
    import('../../tls/pem.ts'),
    materialReader(flags),
  ]);
  let material: TlsMaterial;
  try {
    material = read();
  } catch (error) {
    if (error instanceof TlsFileError) throw new UsageError(error.message);
    throw error;
  }
  let made = nodeTransport(material);
  const current = (): Transport => {
    try {
      const found = read();
      if (!isDeepStrictEqual(found, material)) [material, made] = [found, nodeTransport(found)];
    } catch (error) {
      if (!(error instanceof TlsFileError)) throw error;
    }
    return made;
  };
  return {
    get fetch() {
      return current().fetch;
    },
    get WebSocket() {
      return current().WebSocket;
    },
  };
}

/** @returns a function that reads the files, and throws TlsFileError if one of them cannot be used */
async function materialReader({ ca, cert, key }: ShownFlags): Promise<() => TlsMaterial> {
  const [{ readPem, certificatesOf }, { readKeyPair }] = await Promise.all([
    import('../../tls/pem.ts'),
    import('../../tls/key-pair.ts'),
  ]);
  const caFile = ca === undefined ? null : { flag: '--ca', path: ca };
  return () => {
    const trusted = caFile === null ? undefined : readPem(caFile);
    if (caFile !== null && trusted !== undefined) certificatesOf(caFile, trusted);
    if (cert === undefined || key === undefined) return { ca: trusted };
    const pair = readKeyPair({ flag: '--cert', path: cert }, { flag: '--key', path: key }, Date.now());
    return { ca: trusted, cert: pair.cert, key: pair.key };
  };
}

/**
 * @returns the token to show: the text of `PSYNCD_TOKEN`, or a function that reads the file of `--token-file` or `PSYNCD_TOKEN_FILE`
 * @throws UsageError if the file has no token
 */
function tokenFor({ tokenFile: given }: ShownFlags): Token | undefined {
  const token = process.env.PSYNCD_TOKEN?.trim() || undefined;
  if (given === undefined && token !== undefined) {
    if (isSendable(token)) return token;
    throw new UsageError('PSYNCD_TOKEN: expected one token on one line');
  }
  const tokenFile = given ?? process.env.PSYNCD_TOKEN_FILE;
  if (tokenFile === undefined) return undefined;
  const source = given === undefined ? 'PSYNCD_TOKEN_FILE' : '--token-file';
  // Read anew for each connection, so that a token can be exchanged meanwhile.
  const read = (): string => {
    try {
      return readToken(tokenFile);
    } catch (error) {
      throw new UsageError(`${source}: ${messageOf(error)}`);
    }
  };
  read();
  return read;
}

/** @throws UsageError if it is no URL of a node. The message has neither a user and a password in it, nor a query */
export function checkNode(url: string): void {
  if (/^https?:\/\//i.test(url) && isBase(url)) return;
  const expected = '--node: expected http://HOST:PORT or https://HOST:PORT';
  const token = '--token-file or PSYNCD_TOKEN shows a token';
  if (url.includes('@')) throw new UsageError(`${expected} without a user and a password; ${token}`);
  if (/[?#]/.test(url)) throw new UsageError(`${expected} without ? or # and what follows it; ${token}`);
  throw new UsageError(`${expected}, got ${JSON.stringify(url)}`);
}

function isBase(url: string): boolean {
  try {
    baseOf(url);
    return true;
  } catch {
    return false;
  }
}
