/**
 * The command line: names, arguments and `--help` of all commands. Exit codes: 0 success, 1 failure, 2 wrong usage, 141
 * the reader of the output has gone.
 *
 * Modules that only one command needs are imported when it runs, so `serve` starts faster without the demo.
 */
import { Command, CommanderError, Option } from 'commander';
import { readToken } from '../access/token-reader.ts';
import { FollowError } from '../client/ending.ts';
import { parsePosition } from '../client/position.ts';
import { ApiError, Client, UnsendableKey } from '../client/rest.ts';
import type { Token } from '../client/token.ts';
import { parseUpstream } from '../replication/upstream.ts';
import { version } from '../runtime/version.ts';
import { between, parseTime, UsageError } from '../settings/parse.ts';
import { flagOf, variableOf } from '../settings/setting.ts';
import { SETTINGS } from '../settings/table.ts';
import { MAX_VALUE_BYTES } from '../stream/command.ts';
import { GrowingBuffer } from '../stream/growing-buffer.ts';
import { CommandError } from './command-error.ts';
import { tokenCommand } from './commands/token.ts';
import { gathered, joined } from './options/repeatable.ts';
import { printable, printableJson, printableLines } from './output/printable.ts';

const DEFAULT_NODE = 'http://127.0.0.1:7796';
/** Exit code that shells report for a program ended by SIGPIPE; Node ignores that signal. */
const SIGPIPE_CODE = 141;

/** @param argv like `process.argv`; the call sets the exit code, and ends the process after wrong usage or a failure */
export async function run(argv: readonly string[]): Promise<void> {
  process.stdout.on('error', outputFailed);
  try {
    await program().parseAsync([...argv]);
  } catch (error) {
    const [code, line] = verdict(error);
    if (line !== null) process.stderr.write(`psyncd: ${line}\n`);
    // Not process.exit(): output to a pipe may still be in flight.
    process.exitCode = code;
    if (code !== 0) setImmediate(() => process.exit(code));
  }
}

/** The reader of the output has gone (`| head`), which is no failure; or the output cannot be written. */
function outputFailed(error: NodeJS.ErrnoException): void {
  if (error.code === 'EPIPE') process.exit(SIGPIPE_CODE);
  process.stderr.write(`psyncd: cannot write to standard output: ${error.message}\n`);
  process.exit(1);
}

/** @returns the exit code and the message: printable lines, whatever a node or a file has put into them */
function verdict(error: unknown): readonly [number, string | null] {
  const [code, text] = rawVerdict(error);
  if (text === null) return [code, null];
  return [code, printableLines(code === 1 && isMistake(error) ? text.split('\n') : [text])];
}

/** psyncd's own mistakes are shown with their stack. */
function isMistake(error: unknown): boolean {
  const known = [CommandError, FollowError, ApiError].some((kind) => error instanceof kind);
  return !known && error instanceof Error && error.message !== 'fetch failed';
}

function rawVerdict(error: unknown): readonly [number, string | null] {
  // Commander has already written its own message.
  if (error instanceof CommanderError) return [error.exitCode === 0 ? 0 : 2, null];
  if (error instanceof UsageError || error instanceof UnsendableKey) return [2, error.message];
  if (error instanceof CommandError) return [1, error.message];
  if (error instanceof FollowError) return [1, `${error.message} (${error.code})`];
  if (error instanceof ApiError && error.code === 'UNAUTHORIZED') {
    return [1, `${error.message}; --token-file FILE or PSYNCD_TOKEN shows one (${error.code})`];
  }
  if (error instanceof ApiError) return [1, `${error.message} (${error.code})`];
  if (error instanceof TypeError && error.message === 'fetch failed') {
    return [1, `cannot reach the node: ${reasonOf(error.cause)}; is it running? --node names another`];
  }
  return [1, error instanceof Error ? (error.stack ?? error.message) : String(error)];
}

function reasonOf(cause: unknown): string {
  if (!(cause instanceof Error)) return 'the connection failed';
  return cause.message || ('code' in cause ? String(cause.code) : 'the connection failed');
}

/** The commands with their arguments and `--help`; nothing runs before `parseAsync`. */
export function program(): Command {
  const psyncd = new Command('psyncd')
    .description('A key/value service with Redis-style master/replica replication over HTTP and WebSocket.')
    .version(version())
    .exitOverride()
    .configureHelp({ sortSubcommands: false })
    .showHelpAfterError('(psyncd --help shows the commands)');

  serveCommand(psyncd);

  client(psyncd, 'replicaof')
    .alias('slaveof')
    .argument('<url>', 'the master, ws://HOST:PORT, or no-one: be a master')
    .description('make a running node follow a master, or become one')
    .action(async (url: string, options: Reach) => {
      if (url !== 'no-one' && parseUpstream(url) === null) {
        throw new UsageError(`expected ws://HOST:PORT, or no-one to be a master, got ${JSON.stringify(url)}`);
      }
      const api = clientOf(options);
      const { role, position, upstream } = url === 'no-one' ? await api.promote() : await api.replicaOf(url);
      print(
        role === 'master'
          ? `master at ${position}`
          : `replica of ${upstream?.url}, at ${position}; psyncd info tells how the link is`,
      );
    });

  client(psyncd, 'info')
    .description('show role, position, backlog, master and replicas of a node')
    .option('--json', 'as GET /v1/replication has it')
    .action(async ({ json, ...options }: Reach & { json?: boolean }) => {
      const { formatInfo } = await import('./output/info.ts');
      const answer = await clientOf(options).replication();
      if (json) printJson(answer, 2);
      else print(...formatInfo(answer));
    });

  client(psyncd, 'check')
    .argument('<position>', '<run ID>:<offset>, what a replica has')
    .description(
      'tell what a replica at this position would get: the bytes that it lacks, or a snapshot, and why',
    )
    .option(
      '--hash <HASH>',
      'the history hash that the replica has there, 16 hex digits; without it, it tells none',
    )
    .option('--json', 'as GET /v1/replication/check has it')
    .action(async (position: string, options: Reach & { hash?: string; json?: boolean }) => {
      const { hash = null, json } = options;
      checkPosition('the position', position);
      if (hash !== null && !HISTORY_HASH.test(hash)) {
        throw new UsageError(`--hash: expected 16 hex digits, got ${JSON.stringify(hash)}`);
      }
      const { formatCheck } = await import('./output/info.ts');
      const answer = await clientOf(options).check(position, hash);
      if (json) printJson(answer);
      else print(formatCheck(answer));
    });

  client(psyncd, 'failover')
    .argument('[url]', 'the replica, ws://HOST:PORT; without it, the first one that has everything')
    .description('hand the role of the master over to a replica; nothing is lost')
    .option('--timeout <TIME>', 'how long writes may be held, from 100ms to 1h', '10s')
    .option('--json', 'the result as JSON')
    .action(async (url: string | undefined, options: Reach & { timeout: string; json?: boolean }) => {
      const { formatFailover } = await import('./output/info.ts');
      const result = await clientOf(options).failover(url, timeFlag('--timeout', options.timeout));
      if (options.json) printJson(result);
      else print(...formatFailover(result));
    });

  client(psyncd, 'get')
    .argument('<key>')
    .description("write a key's value to standard output; exit code 1 if there is none")
    .action(async (key: string, options: Reach) => {
      const value = await clientOf(options).get(key);
      if (value === null) throw new CommandError(`there is no key ${JSON.stringify(key)}`);
      process.stdout.write(value);
      if (process.stdout.isTTY) process.stdout.write('\n');
    });

  client(psyncd, 'set')
    .argument('<key>')
    .argument('<value>', 'the value; - reads it from standard input')
    .description('set a key')
    .action(async (key: string, value: string, options: Reach) => {
      const body = value === '-' ? await standardInput() : value;
      const written = await clientOf(options).set(key, body);
      print(`${written.created ? 'created' : 'replaced'}, at ${written.position}`);
    });

  client(psyncd, 'del')
    .argument('<key>')
    .description('delete a key; exit code 1 if there is none')
    .action(async (key: string, options: Reach) => {
      if (!(await clientOf(options).delete(key))) {
        throw new CommandError(`there is no key ${JSON.stringify(key)}`);
      }
      print('deleted');
    });

  client(psyncd, 'import')
    .argument('<file>', 'NDJSON, one {"key": …, "value": …} a line; - reads standard input')
    .description('load many entries')
    .option('--json', 'the result as JSON')
    .action(async (file: string, { json, ...options }: Reach & { json?: boolean }) => {
      const [{ importFile }, { counted }] = await Promise.all([
        import('./tasks/import-file.ts'),
        import('./output/info.ts'),
      ]);
      const result = await importFile(file, options.node, tokenFor(options));
      if (json) printJson(result);
      else print(`${counted(result.imported, 'entry', 'entries')} imported, at ${result.position}`);
    });

  client(psyncd, 'export')
    .argument('[file]', 'where to write; - or nothing: standard output', '-')
    .description('write all entries as NDJSON, as they are at one position, for import')
    .option('--prefix <P>', 'only keys that begin so', '')
    .option('--json', 'the result as JSON; not with standard output')
    .action(async (file: string, options: Reach & { prefix: string; json?: boolean }) => {
      if (options.json && file === '-') {
        throw new UsageError(
          '--json is about an export into a file; standard output has the entries, which are JSON',
        );
      }
      const [{ exportFile }, { counted }] = await Promise.all([
        import('./tasks/export-file.ts'),
        import('./output/info.ts'),
      ]);
      const result = await exportFile(file, clientOf(options), options.prefix);
      const text = `${counted(result.exported, 'entry', 'entries')} exported, at ${result.position}`;
      if (options.json) printJson(result);
      else if (file !== '-') print(text);
      else process.stderr.write(`${printable(text)}\n`);
    });

  followCommand(psyncd);
  tokenCommand(psyncd);

  psyncd
    .command('demo')
    .description('a master and two replicas on this machine: real data, cut links, resyncs, a restart')
    .option('--once', 'exit when everything has been shown: 0 if all of it was true, 1 if not')
    .action(async ({ once = false }: { once?: boolean }) => (await import('./demo/demo.ts')).demo(once));
  return psyncd;
}

function followCommand(psyncd: Command): void {
  psyncd
    .command('follow')
    .description(
      'show the changes as they come, until Ctrl-C; once connected, it resumes after cuts by itself',
    )
    .addOption(new Option('--prefix <P>', 'only keys that begin so; may be repeated').argParser(gathered))
    .option(
      '--position <POS>',
      'go on from this <run ID>:<offset>, or now; without it a snapshot comes first',
    )
    .option('--no-snapshot', 'fail if the position cannot be continued from, instead of a snapshot')
    .option('--json', 'one event a line, as it was received (see docs/protocol.md)')
    .addOption(
      new Option('--node <URL>', `a node; may be repeated: others to go to (default: ${DEFAULT_NODE})`)
        .argParser(gathered)
        .env('PSYNCD_NODE'),
    )
    .addOption(tokenOption())
    .addHelpText(
      'after',
      '\nA line has the offset that it brings you to; synced, continue and history have the whole position, its run ID\n' +
        'included: --position takes RUN-ID:OFFSET of the last line that you have seen, and standard error tells it when it\n' +
        'is stopped. Bookmarks are shown with --json only.\n' +
        'If no node can be reached at the start, the exit code is 1; later it tries again until it is stopped.',
    )
    .action(async (options: FollowFlags) => {
      const { node = [DEFAULT_NODE], prefix = [], position = null, snapshot, json = false } = options;
      for (const url of node) checkNode(url);
      if (position !== null && position !== 'now') checkPosition('--position', position, ', or now');
      if (!snapshot && position === null) throw new UsageError('--no-snapshot needs --position');
      const { followChanges } = await import('./tasks/follow.ts');
      // The command ends by itself then, and says how to resume.
      process.stdout.off('error', outputFailed);
      const isRead = await followChanges({
        nodes: node,
        token: tokenFor(options),
        prefixes: prefix,
        position,
        snapshot,
        json,
      });
      const exit = (): void => process.exit(isRead ? 0 : SIGPIPE_CODE);
      // A connection to a vanished node would keep the process alive for a while.
      if (isRead) process.stdout.write('', () => process.stderr.write('', exit));
      else process.stderr.write('', exit);
    });
}

interface FollowFlags {
  readonly tokenFile?: string;
  readonly node?: readonly string[];
  readonly prefix?: readonly string[];
  readonly position?: string;
  readonly snapshot: boolean;
  readonly json?: true;
}

/**
 * @param name of the flag
 * @returns milliseconds
 * @throws UsageError that names the flag
 */
function timeFlag(name: string, text: string): number {
  try {
    return between(parseTime, '100ms', '1h')(text);
  } catch (error) {
    if (!(error instanceof UsageError)) throw error;
    throw new UsageError(`${name}: ${error.message}, got ${JSON.stringify(text)}`);
  }
}

/** Form of the history hash that `GET /v1/replication` tells. */
const HISTORY_HASH = /^[0-9a-f]{16}$/;

/**
 * @param name as shown to the user
 * @param others other accepted values
 */
function checkPosition(name: string, position: string, others = ''): void {
  if (parsePosition(position) !== null) return;
  throw new UsageError(`${name}: expected <run ID>:<offset>${others}, got ${JSON.stringify(position)}`);
}

function serveCommand(psyncd: Command): void {
  const serveIt = psyncd
    .command('serve')
    .description('run a node')
    .option('--config <FILE>', 'settings as a JSON object, {"backlogSize": "8mb"}');
  for (const { name, placeholder, initial, help, isList } of SETTINGS) {
    const flags = placeholder === null ? flagOf(name) : `${flagOf(name)} <${placeholder}>`;
    const text =
      initial === null || initial === '' || placeholder === null ? help : `${help} (default: ${initial})`;
    const option = new Option(flags, text);
    serveIt.addOption(isList === true ? option.argParser(joined) : option);
  }
  serveIt.addHelpText(
    'after',
    `\nEach setting can also be an environment variable (${variableOf('backlogSize')}) or stand in the config file\n` +
      '("backlogSize"); a flag beats the environment, which beats the file.\n' +
      'Sizes take kb, mb, gb; times take ms, s, m, h.',
  );
  serveIt.action(async (options: Readonly<Record<string, string | true | undefined>>) => {
    const { config, ...given } = options;
    const flags = Object.fromEntries(Object.entries(given).map(([name, value]) => [name, String(value)]));
    const { serve } = await import('./tasks/serve.ts');
    // A node keeps serving when nothing reads its output.
    process.stdout.off('error', outputFailed);
    process.stdout.on('error', () => undefined);
    return serve(flags, typeof config === 'string' ? config : null);
  });
}

/** How a command reaches its node. */
interface Reach {
  readonly node: string;
  readonly tokenFile?: string;
}

/** Adds a command that talks to a running node. */
function client(psyncd: Command, name: string): Command {
  return psyncd
    .command(name)
    .addOption(new Option('--node <URL>', 'the node').default(DEFAULT_NODE).env('PSYNCD_NODE'))
    .addOption(tokenOption())
    .hook('preAction', (command) => checkNode(String(command.opts().node)));
}

/** The token itself is no flag: everybody on the machine may read the command line of a process. */
function tokenOption(): Option {
  return new Option('--token-file <FILE>', 'file with the token to show; PSYNCD_TOKEN is the token itself');
}

function clientOf(reach: Reach): Client {
  return new Client(reach.node, { token: tokenFor(reach) });
}

/** @throws UsageError if the file has no token */
function tokenFor({ tokenFile }: Pick<Reach, 'tokenFile'>): Token | undefined {
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

function checkNode(url: string): void {
  if (URL.canParse(url) && /^https?:\/\//i.test(url)) return;
  throw new UsageError(`--node: expected http://HOST:PORT, got ${JSON.stringify(url)}`);
}

/** Prints lines for people; text from nodes and their peers is made printable. */
function print(...lines: readonly string[]): void {
  process.stdout.write(`${printableLines(lines)}\n`);
}

function printJson(value: unknown, space?: number): void {
  process.stdout.write(`${printableJson(value, space)}\n`);
}

/** @throws CommandError when the input is longer than a value may be; it may be endless */
async function standardInput(): Promise<Uint8Array<ArrayBuffer>> {
  const bytes = new GrowingBuffer();
  let length = 0;
  for await (const chunk of process.stdin as AsyncIterable<Buffer>) {
    length += chunk.length;
    if (length > MAX_VALUE_BYTES) throw new CommandError(`the value has more than ${MAX_VALUE_BYTES} bytes`);
    bytes.add(chunk);
  }
  return new Uint8Array(bytes.take());
}
