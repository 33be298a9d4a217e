/** `psyncd verify`: checks a backup or a data folder. */
import { tmpdir } from 'node:os';
import { resolve } from 'node:path';
import { TargetError } from '../../node/ports/backup-target.ts';
import { messageOf } from '../../node/ports/failures.ts';
import { formatPosition } from '../../replication/position.ts';
import { BackupError, CheckError } from '../../store/backup/backup-error.ts';
import { checkBackup } from '../../store/backup/check-backup.ts';
import { checkFolder } from '../../store/backup/check-folder.ts';
import { manifestJson } from '../../store/backup/manifest.ts';
import { counted } from '../output/info.ts';
import { reporter } from '../output/progress.ts';
import { backupLine } from './back-up.ts';
import { kindOf } from './kind-of.ts';
import { backupsOf, isUrl, withDownloaded, withoutFileUrl } from './targets.ts';

export interface Verified {
  /** 0: whole; 1: damaged; 2: it cannot be told. */
  readonly code: 0 | 1 | 2;
  /** The result for people. */
  readonly line: string;
  /** The result as JSON. */
  readonly result: Readonly<Record<string, unknown>>;
}

/** @param path of a backup or a data folder @param version of this psyncd */
export async function verify(path: string, version: string): Promise<Verified> {
  return await verified(path, () => checked(path, version));
}

/** Checks the backup in a target whose name has the latest time. @param version of this psyncd */
export async function verifyNewest(target: string, version: string): Promise<Verified> {
  return await verified(target, async () => {
    const name = (await backupsOf(target)).at(-1)?.name;
    if (name === undefined) throw new CheckError('unknown', `there is no backup in ${target}`);
    return await checked(`${target.replace(/\/+$/, '')}/${name}`, version);
  });
}

async function checked(path: string, version: string): Promise<Verified> {
  const local = withoutFileUrl(path);
  if (!isUrl(local)) return await whole(resolve(local), version);
  return await withDownloaded(path, tmpdir(), (file) => whole(file, version, path));
}

async function verified(path: string, check: () => Promise<Verified>): Promise<Verified> {
  try {
    return await check();
  } catch (error) {
    const isOfSystem = error instanceof Error && 'syscall' in error;
    const isKnown = [CheckError, TargetError, BackupError].some((kind) => error instanceof kind);
    if (!isKnown && !isOfSystem) throw error;
    const detail = isKnown ? messageOf(error) : `${path} cannot be read: ${messageOf(error)}`;
    const isDamaged = error instanceof CheckError && error.finding === 'damaged';
    const result = { result: isDamaged ? 'damaged' : 'unknown', path, detail };
    return { code: isDamaged ? 1 : 2, line: detail, result };
  }
}

/** @param shown name of the path for people */
async function whole(path: string, version: string, shown = path): Promise<Verified> {
  if (kindOf(path) === 'folder') {
    const { position, keys, digest } = await checkFolder(path);
    const at = formatPosition(position);
    return {
      code: 0,
      line: `whole: ${counted(keys, 'entry', 'entries')} at ${at}, digest ${digest}: ${shown}`,
      result: { result: 'whole', path: shown, kind: 'folder', ...position, keys, digest },
    };
  }
  const { report, stop } = reporter('checking');
  const manifest = await checkBackup(path, version, report).finally(stop);
  return {
    code: 0,
    line: `whole: ${backupLine(manifest)}, digest ${manifest.digest}: ${shown}`,
    result: { result: 'whole', path: shown, kind: 'backup', ...manifestJson(manifest) },
  };
}
