/**
 * Backs up a keyspace file that no node has open: one that a full resync or a restore has put aside, or a snapshot that was downloaded. The
 * file stays as it is.
 */
import { existsSync, realpathSync, statSync } from 'node:fs';
import { basename, dirname } from 'node:path';
import { messageOf } from '../../../node/ports/failures.ts';
import { systemWorld } from '../../../runtime/system-world.ts';
import { KEYSPACE_FILE } from '../../folder-names.ts';
import { isGuarded } from '../../guard-file.ts';
import { codeOf, isDamage } from '../../storage-failure.ts';
import { BackupError } from '../backup-error.ts';
import type { Manifest } from '../manifest.ts';
import { nodeFolderOf } from '../node-folder.ts';
import { copyLeavingRoom } from '../room.ts';
import type { Report } from '../seal.ts';
import { sealFile } from '../seal-file.ts';

/**
 * The file says its position. It does not say what its run ID has grown out of, nor the history hash, so who restores the backup shares nothing
 * with the old history. The time is the one at which the file was written last.
 * @param named path of the keyspace file
 * @param into path of the backup, where no file is
 * @param version of this psyncd
 * @throws BackupError, one line
 */
export async function backUpKeyspace(
  named: string,
  into: string,
  version: string,
  report?: Report,
): Promise<Manifest> {
  // A link would hide that it is the file of a node.
  const path = realpathSync(named);
  const folder = nodeFolderOf(dirname(path));
  const isOfNode = folder === dirname(path) && KEYSPACE_FILE.test(basename(path));
  if (isOfNode || existsSync(`${path}-wal`)) {
    const why = isOfNode ? 'is the keyspace of a node, and lacks what its journal has' : 'has a WAL';
    throw new BackupError(`${path} ${why}: give the data folder to --data`);
  }
  const commitTime = Math.floor(Math.min(statSync(path).mtimeMs, systemWorld.now()));
  const guarded = folder !== null && isGuarded(folder);
  await copyLeavingRoom(path, into);
  try {
    const origin = { version, position: null, lineage: [], commitTime, hash: null, guarded };
    return await sealFile(into, origin, report);
  } catch (error) {
    if (!isDamage(codeOf(error)) && codeOf(error) !== 'UNKNOWN') throw error;
    throw new BackupError(`${path} is no whole keyspace file: ${messageOf(error).replaceAll(into, path)}`);
  }
}
