/**
 * Notes in the data folder that the node needs tokens. If its list of tokens is lost, the next start would let everybody in;
 * with the note it refuses instead.
 */
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { GUARD_FILE } from './folder-names.ts';
import { StartError } from './start-error.ts';
import { codeOf } from './storage-failure.ts';
import { syncFolder } from './sync-folder.ts';

const TEXT =
  'This node needs tokens. Without this file it may start without, and everybody may do everything.\n';

/**
 * Refuses to start a node without tokens in the data folder of one that needs them.
 * @param tokensPath the list of tokens that is not there
 * @throws StartError that says what to do
 */
export function refuseLostTokens(folder: string, tokensPath: string): void {
  const note = join(folder, GUARD_FILE);
  if (!isGuarded(folder)) return;
  throw new StartError(
    `this node needs tokens, and there is no ${tokensPath}: put it back from a copy, name the keys of its signed tokens ` +
      '(--jwt-key-file, --jwt-jwks), or begin a new list with psyncd token create; ' +
      `if everybody may do everything from now on, remove ${note}`,
  );
}

/** Whether it is noted that the node with this data folder needs tokens. */
export function isGuarded(folder: string): boolean {
  return existsSync(join(folder, GUARD_FILE));
}

/** Notes that the node needs tokens, if that is not noted yet. @throws Error of the system */
export async function noteGuarded(folder: string): Promise<void> {
  try {
    mkdirSync(folder, { recursive: true });
    writeFileSync(join(folder, GUARD_FILE), TEXT, { flag: 'wx', mode: 0o600 });
  } catch (error) {
    if (codeOf(error) === 'EEXIST') return;
    throw error;
  }
  await syncFolder(folder);
}
