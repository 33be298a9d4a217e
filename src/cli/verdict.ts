/** What a failure means to whoever started the command: an exit code and a line. */
import { CommanderError } from 'commander';
import { FollowError } from '../client/ending.ts';
import { ApiError, UnsendableKey } from '../client/rest.ts';
import { UsageError } from '../settings/parse.ts';
import { CommandError } from './command-error.ts';
import { printableLines } from './output/printable.ts';

/** @returns the exit code and the message: printable lines, whatever a node or a file has put into them */
export function verdict(error: unknown): readonly [number, string | null] {
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
