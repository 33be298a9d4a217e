/** What else than files a data folder may hold under the names of files. */
import { readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { NODE_FILE } from '../folder-names.ts';
import { StartError } from '../start-error.ts';

/**
 * Looks before anything is opened: the opening of a pipe waits for somebody who writes into it, and blocks the process meanwhile.
 * @param folder data folder
 * @throws StartError if a file of the node is a pipe, a folder or the like; Error of the system
 */
export function refuseOtherKinds(folder: string): void {
  for (const name of readdirSync(folder)) {
    if (!NODE_FILE.test(name)) continue;
    const path = join(folder, name);
    const found = statSync(path, { throwIfNoEntry: false });
    if (found === undefined || found.isFile()) continue;
    throw new StartError(
      `${path} is no file, as it has to be in a data folder; move it away, and restore a backup`,
    );
  }
}
