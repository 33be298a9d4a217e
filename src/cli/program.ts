/**
 * The command line: all commands, and how it ends. Exit codes: 0 success, 1 failure, 2 wrong usage (or `verify` cannot tell), 3 not there, 141 the reader of
 * the output has gone.
 *
 * Modules that only one command needs are imported when it runs, so `serve` starts faster without the demo.
 */
import { Command } from 'commander';
import { version } from '../runtime/version.ts';
import { backupCommand, restoreCommand, verifyCommand } from './commands/backup.ts';
import { completionCommand } from './commands/completion.ts';
import { configCommand } from './commands/config.ts';
import { demoCommand } from './commands/demo.ts';
import { diffCommand } from './commands/diff.ts';
import { exportCommand, importCommand } from './commands/entries.ts';
import { followCommand } from './commands/follow.ts';
import { holdCommand } from './commands/hold.ts';
import { checkCommand, infoCommand } from './commands/info.ts';
import { delCommand, getCommand, incrCommand, keysCommand, setCommand } from './commands/keys.ts';
import { acceptCommand, digestCommand, sessionsCommand } from './commands/replicas.ts';
import { failoverCommand, replicaofCommand } from './commands/role.ts';
import { serveCommand } from './commands/serve.ts';
import { tokenCommand } from './commands/token.ts';
import { endWithOutput } from './output/standard-output.ts';
import { verdict } from './verdict.ts';

/** Adds each command, in the order of `--help`. */
const COMMANDS: readonly ((psyncd: Command) => void)[] = [
  serveCommand,
  replicaofCommand,
  infoCommand,
  checkCommand,
  failoverCommand,
  holdCommand,
  acceptCommand,
  sessionsCommand,
  digestCommand,
  getCommand,
  setCommand,
  delCommand,
  incrCommand,
  keysCommand,
  diffCommand,
  importCommand,
  exportCommand,
  backupCommand,
  verifyCommand,
  restoreCommand,
  followCommand,
  tokenCommand,
  configCommand,
  demoCommand,
  completionCommand,
];

/** @param argv like `process.argv`; the call sets the exit code, and ends the process after wrong usage or a failure */
export async function run(argv: readonly string[]): Promise<void> {
  endWithOutput();
  forgetEmptyVariables();
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

/** Unit files and containers pass an empty variable when the user gave it no value, so an empty one counts as not set. */
function forgetEmptyVariables(): void {
  for (const [name, value] of Object.entries(process.env)) {
    if (value === '' && name.startsWith('PSYNCD_')) delete process.env[name];
  }
}

/** The commands with their arguments and `--help`; nothing runs before `parseAsync`. */
export function program(): Command {
  const psyncd = new Command('psyncd')
    .description('A key/value service with Redis-style master/replica replication over HTTP and WebSocket.')
    .version(version())
    .exitOverride()
    .configureHelp({ sortSubcommands: false })
    .showHelpAfterError('(psyncd --help shows the commands)');

  for (const add of COMMANDS) add(psyncd);
  return psyncd;
}
