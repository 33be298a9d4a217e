/** How a command reaches a running node: `--node` and `--token-file`. */
import { type Command, Option } from 'commander';
import { readToken } from '../../access/token-reader.ts';
import { Client } from '../../client/rest.ts';
import type { Token } from '../../client/token.ts';
import { UsageError } from '../../settings/parse.ts';

export const DEFAULT_NODE = 'http://127.0.0.1:7796';

/** How a command reaches its node. */
export interface Reach {
  readonly node: string;
  readonly tokenFile?: string;
}

/** Adds a command that talks to a running node. */
export function nodeCommand(psyncd: Command, name: string): Command {
  return psyncd
    .command(name)
    .addOption(new Option('--node <URL>', 'the node').default(DEFAULT_NODE).env('PSYNCD_NODE'))
    .addOption(tokenOption())
    .hook('preAction', (command) => checkNode(String(command.opts().node)));
}

/** The token itself is no flag: everybody on the machine may read the command line of a process. */
export function tokenOption(): Option {
  return new Option('--token-file <FILE>', 'file with the token to show; PSYNCD_TOKEN is the token itself');
}

/** @throws UsageError if the file of the token has none */
export function clientOf(reach: Reach): Client {
  return new Client(reach.node, { token: tokenFor(reach) });
}

/**
 * @returns the token to show: the text of `PSYNCD_TOKEN`, or a function that reads the file
 * @throws UsageError if the file has no token
 */
export function tokenFor({ tokenFile }: Pick<Reach, 'tokenFile'>): Token | undefined {
  if (tokenFile === undefined) return process.env.PSYNCD_TOKEN?.trim() || undefined;
  // Read anew for each connection, so that a token can be exchanged meanwhile.
  const read = (): string => {
    try {
      return readToken(tokenFile);
    } catch (error) {
      throw new UsageError(`--token-file: ${error instanceof Error ? error.message : error}`);
    }
  };
  read();
  return read;
}

/** @throws UsageError if it is no URL of a node */
export function checkNode(url: string): void {
  if (URL.canParse(url) && /^https?:\/\//i.test(url)) return;
  throw new UsageError(`--node: expected http://HOST:PORT, got ${JSON.stringify(url)}`);
}
