/** `psyncd token`: makes, lists and revokes the tokens of a node, in its `tokens.json`. */
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { type Command, Option } from 'commander';
import { RIGHTS } from '../../access/right.ts';
import { tokenProblem } from '../../access/tokens/token-list.ts';
import type { ShownToken } from '../../access/tokens/tokens.ts';
import { parseTime, UsageError } from '../../settings/parse.ts';
import { variableOf } from '../../settings/setting.ts';
import { GUARD_FILE } from '../../store/folder-names.ts';
import { CommandError, NotThere } from '../command-error.ts';
import { gathered, joined } from '../options/repeatable.ts';
import { printable } from '../output/printable.ts';
import { print, printJson } from '../output/standard-output.ts';

const DAY_MS = 86_400_000;
/** Longest life of a token, in milliseconds: ten years. */
const MAX_LIFE_MS = 3_650 * DAY_MS;
const DEFAULT_FILE = 'psyncd-data/tokens.json';
const LOST =
  'the list of this node was gone: this token begins a new one, and all others are no longer valid. If there is a copy of the list, put it back';

type Tokens = typeof import('../../access/tokens/tokens.ts');

interface CreateFlags {
  readonly tokens: string;
  readonly rights: string;
  readonly prefix?: readonly string[];
  readonly expires?: string;
  readonly certificate?: string;
  readonly json?: true;
}

/** Adds the command. */
export function tokenCommand(psyncd: Command): void {
  const token = psyncd
    .command('token')
    .description('make, list and revoke tokens; as soon as a node has one, its clients need one');

  addCreate(token);
  addList(token);
  addRevoke(token);
}

function addCreate(token: Command): void {
  token
    .command('create')
    .argument('<name>', 'what the token is for, such as backend')
    .description('make a token and print it; it is shown only once')
    .addOption(
      new Option('--rights <RIGHTS>', `some of ${RIGHTS.join(', ')}, separated by commas`)
        .argParser(joined)
        .makeOptionMandatory(),
    )
    .addOption(new Option('--prefix <P>', 'only keys that begin so; may be repeated').argParser(gathered))
    .option('--expires <TIME>', 'how long it is valid, such as 12h or 30d; without it, until it is revoked')
    .option(
      '--certificate <NAME>',
      'give the rights to the owner of a certificate instead, by a URI or DNS name in it, else its common name',
    )
    .option('--json', 'the token with its ID as JSON')
    .addOption(fileOption())
    .action(create);
}

/** Makes the token, or gives the rights to a certificate, and prints it. */
async function create(name: string, flags: CreateFlags): Promise<void> {
  const now = Date.now();
  const expiresAt = flags.expires === undefined ? null : now + lifeOf(flags.expires);
  const wanted = {
    name,
    rights: flags.rights.split(',').map((right) => right.trim()),
    prefixes: flags.prefix ?? null,
    expiresAt,
  };
  const wrong = tokenProblem(wanted);
  if (wrong !== null) throw new UsageError(wrong);
  const { certificate } = flags;
  if (certificate !== undefined) {
    const added = await inFile(flags.tokens, ({ addCertificate }) =>
      addCertificate(flags.tokens, wanted, certificate, now),
    );
    if (flags.json) printJson(added);
    else print(`${lineOf(added)}; in ${flags.tokens}`);
    return;
  }
  const isLost = isListLost(flags.tokens);
  const { record, text } = await inFile(flags.tokens, ({ createToken }) =>
    createToken(flags.tokens, wanted, now),
  );
  if (isLost) process.stderr.write(`psyncd: ${LOST}\n`);
  // The token stands alone on standard output, so that a script can take it.
  if (flags.json) printJson({ ...record, token: text });
  else print(text);
  if (!flags.json)
    process.stderr.write(`${printable(`${lineOf(record)}; in ${flags.tokens}; it is not shown again`)}\n`);
}

function addList(token: Command): void {
  token
    .command('list')
    .description('show the tokens without their secrets')
    .option('--json', 'as JSON')
    .addOption(fileOption())
    .action(async ({ tokens, json }: { readonly tokens: string; readonly json?: true }) => {
      const records = await inFile(tokens, ({ listTokens }) => listTokens(tokens));
      if (json) printJson({ tokens: records }, 2);
      else if (records.length === 0) {
        print(existsSync(tokens) ? 'there are no tokens' : `there is no list of tokens at ${tokens}`);
      } else print(...records.map(lineOf));
    });
}

function addRevoke(token: Command): void {
  token
    .command('revoke')
    .argument('<id>', 'the ID of the token, as list shows it')
    .description('make a token invalid; a running node closes its open streams within a second')
    .addOption(fileOption())
    .action(async (id: string, { tokens }: { readonly tokens: string }) => {
      const revoked = await inFile(tokens, ({ revokeToken }) => revokeToken(tokens, id));
      if (revoked === null && !existsSync(tokens))
        throw new NotThere(`there is no list of tokens at ${tokens}`);
      if (revoked === null)
        throw new NotThere(
          `there is no token with the ID ${JSON.stringify(id)} in ${tokens}; psyncd token list shows the IDs`,
        );
      print(`revoked ${lineOf(revoked)}`);
    });
}

/** Whether the node needs tokens and its list is not there. */
function isListLost(path: string): boolean {
  return !existsSync(path) && existsSync(join(dirname(path), GUARD_FILE));
}

function fileOption(): Option {
  return new Option('--tokens <FILE>', 'the file of the node')
    .default(DEFAULT_FILE)
    .env(variableOf('tokensFile'));
}

/** Turns what is wrong with the file, or with what is asked for, into one line. */
async function inFile<T>(path: string, work: (tokens: Tokens) => Promise<T>): Promise<T> {
  const tokens = await import('../../access/tokens/tokens.ts');
  try {
    return await work(tokens);
  } catch (error) {
    if (error instanceof tokens.TokenListError) throw new CommandError(`${path}: ${error.message}`);
    if (error instanceof Error && 'code' in error) throw new CommandError(`${path}: ${error.message}`);
    throw error;
  }
}

/** Reads `12h` or `30d`. @returns milliseconds @throws UsageError */
function lifeOf(text: string): number {
  const [, days] = /^(\d{1,5})d$/.exec(text) ?? [];
  // A bare number would be milliseconds, which nobody means here.
  const other = /^[\d.]+$/.test(text) ? 0 : timeOf(text);
  const ms = days === undefined ? other : Number(days) * DAY_MS;
  if (ms > 0 && ms <= MAX_LIFE_MS) return ms;
  throw new UsageError(
    `--expires: expected a time such as 12h or 30d, up to 3650d, got ${JSON.stringify(text)}`,
  );
}

/** @returns milliseconds; 0: it is no time */
function timeOf(text: string): number {
  try {
    return parseTime(text);
  } catch (error) {
    if (error instanceof UsageError) return 0;
    throw error;
  }
}

function lineOf({ id, name, rights, prefixes, expiresAt, certificate }: ShownToken): string {
  const keys =
    prefixes === null
      ? ''
      : ` for keys that begin with ${prefixes.map((each) => JSON.stringify(each)).join(', ')}`;
  const until = expiresAt !== null && expiresAt <= Date.now() ? 'expired' : 'until';
  const end = expiresAt === null ? '' : `, ${until} ${new Date(expiresAt).toISOString()}`;
  const owner = certificate === undefined ? '' : ` of the certificate ${certificate.san}`;
  return `${id} ${name}${owner}: ${rights.join(', ')}${keys}${end}`;
}
