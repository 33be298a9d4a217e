/** Reads a token that this process shows to others from a file. */

import { messageOf } from '../node/ports/failures.ts';
import type { Log } from '../node/ports/world.ts';
import { readSmallFile } from '../runtime/small-file.ts';

/** A token has 54 characters; one of another service may be longer. */
const MAX_TOKEN_BYTES = 16 * 1024;

/**
 * @param path null: there is no token
 * @returns the token in the file
 * @throws Error that names the file and says why it has no token
 */
export function readToken(path: string): string {
  const text = contentOf(path).trim();
  if (isSendable(text)) return text;
  throw new Error(`${path}: expected one token on one line`);
}

/** Whether the text can stand in a header as a token: printable ASCII. */
export function isSendable(text: string): boolean {
  return /^[!-~]+$/.test(text);
}

/**
 * @param path null: there is no token
 * @returns a function that reads the token anew each time, so that it can be exchanged while the process runs. If the
 * file has none, the log says so, and the other side refuses.
 */
export function tokenReader(path: string | null, log: Log): () => string | null {
  let told = '';
  return () => {
    if (path === null) return null;
    try {
      const token = readToken(path);
      told = '';
      return token;
    } catch (error) {
      const message = messageOf(error);
      if (message !== told) log.error('no-upstream-token', { error: message });
      told = message;
      return null;
    }
  };
}

function contentOf(path: string): string {
  try {
    return readSmallFile(path, MAX_TOKEN_BYTES).toString('utf8');
  } catch (error) {
    throw new Error(`${path}: ${messageOf(error)}`);
  }
}
