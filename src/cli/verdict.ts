/** What a failure means to whoever started the command: an exit code and a line. */
import { CommanderError } from 'commander';
import { ApiError } from '../client/api-error.ts';
import { FollowError } from '../client/ending.ts';
import { UnsendableKey } from '../client/rest.ts';
import { UsageError } from '../settings/parse.ts';
import { CommandError, NotThere, NotWhole } from './command-error.ts';
import { printableLines } from './output/printable.ts';

/** Exit code of a command that did not find what it names. */
const NOT_THERE = 3;

/** @returns the exit code and the message: printable lines, whatever a node or a file has put into them */
export function verdict(error: unknown): readonly [number, string | null] {
  const [code, text] = rawVerdict(error);
  if (text === null) return [code, null];
  return [code, printableLines(code === 1 && isMistake(error) ? text.split('\n') : [text])];
}

/** psyncd's own mistakes are shown with their stack. */
function isMistake(error: unknown): boolean {
  const known = [CommandError, NotThere, NotWhole, FollowError, ApiError].some(
    (kind) => error instanceof kind,
  );
  const isOfConnection = error instanceof TypeError && ['fetch failed', 'terminated'].includes(error.message);
  return !known && !isOfFiles(error) && error instanceof Error && !isOfConnection;
}

/** Failures of backups, archives, restores and targets, by their names: only those commands import their classes. */
const OF_FILES = new Set(['ArchiveError', 'BackupError', 'CheckError', 'StartError', 'TargetError']);

function isOfFiles(error: unknown): boolean {
  return error instanceof Error && OF_FILES.has(error.name);
}

function rawVerdict(error: unknown): readonly [number, string | null] {
  // Commander has already written its own message.
  if (error instanceof CommanderError) return [error.exitCode === 0 ? 0 : 2, null];
  if (error instanceof UsageError || error instanceof UnsendableKey) return [2, error.message];
  if (error instanceof NotWhole) return [error.code, error.line];
  if (error instanceof Error && error.name === 'TargetError' && 'code' in error) {
    return [error.code === 'NOT_FOUND' ? NOT_THERE : 1, `${error.message} (${error.code})`];
  }
  if (error instanceof CommandError || isOfFiles(error)) return [1, (error as Error).message];
  if (error instanceof NotThere) return [NOT_THERE, error.message];
  if ((error instanceof ApiError || error instanceof FollowError) && error.code === 'UNAUTHORIZED') {
    return [1, `${error.message}; --token-file FILE or PSYNCD_TOKEN shows one (${error.code})`];
  }
  if (error instanceof FollowError) return [1, `${error.message} (${error.code})`];
  if (error instanceof ApiError) {
    return [error.code === 'NOT_FOUND' ? NOT_THERE : 1, `${error.message} (${error.code})`];
  }
  if (error instanceof TypeError && error.message === 'fetch failed') {
    return [1, unreachable(error.cause)];
  }
  if (error instanceof TypeError && error.message === 'terminated') {
    return [1, 'the answer of the node broke off before its end'];
  }
  return [1, error instanceof Error ? (error.stack ?? error.message) : String(error)];
}

function unreachable(cause: unknown): string {
  const code = cause instanceof Error && 'code' in cause ? String(cause.code) : '';
  if (/^(?:UNABLE_TO_|DEPTH_ZERO_|SELF_SIGNED_)/.test(code)) {
    return `cannot trust the node: ${reasonOf(cause)}; --ca FILE names its CA`;
  }
  // A client hears nothing else when it has no certificate.
  const hint =
    code === 'UND_ERR_SOCKET' ? '; if it requires certificates, --cert FILE and --key FILE show one' : '';
  return `cannot reach the node: ${reasonOf(cause)}; is it running? --node names another${hint}`;
}

function reasonOf(cause: unknown): string {
  if (!(cause instanceof Error)) return 'the connection failed';
  if ('reason' in cause) return String(cause.reason);
  return cause.message || ('code' in cause ? String(cause.code) : 'the connection failed');
}
