/** `psyncd verify`: checks a backup or a data folder. */
import { statSync } from 'node:fs';
import { resolve } from 'node:path';
import { messageOf } from '../../node/ports/failures.ts';
import { formatPosition } from '../../replication/position.ts';
import { CheckError } from '../../store/backup/backup-error.ts';
import { checkBackup } from '../../store/backup/check-backup.ts';
import { checkFolder } from '../../store/backup/check-folder.ts';
import { manifestJson } from '../../store/backup/manifest.ts';
import { counted } from '../output/info.ts';
import { reporter } from '../output/progress.ts';
import { backupLine, isUrl } from './back-up.ts';

export interface Verified {
  /** 0: whole; 1: damaged; 2: it cannot be told. */
  readonly code: 0 | 1 | 2;
  /** The result for people. */
  readonly line: string;
  /** The result as JSON. */
  readonly result: Readonly<Record<string, unknown>>;
}

/** @param version of this psyncd */
export async function verify(path: string, version: string): Promise<Verified> {
  try {
    if (isUrl(path))
      throw new CheckError('unknown', `${path}: object storage cannot be read yet; copy the file here first`);
    return await whole(resolve(path), version);
  } catch (error) {
    const isOfSystem = error instanceof Error && 'syscall' in error;
    if (!(error instanceof CheckError) && !isOfSystem) throw error;
    const detail =
      error instanceof CheckError ? error.message : `${path} cannot be read: ${messageOf(error)}`;
    const isDamaged = error instanceof CheckError && error.finding === 'damaged';
    const result = { result: isDamaged ? 'damaged' : 'unknown', path, detail };
    return { code: isDamaged ? 1 : 2, line: detail, result };
  }
}

async function whole(path: string, version: string): Promise<Verified> {
  if (statSync(path, { throwIfNoEntry: false })?.isDirectory()) {
    const { position, keys, digest } = await checkFolder(path);
    const at = formatPosition(position);
    return {
      code: 0,
      line: `whole: ${counted(keys, 'entry', 'entries')} at ${at}, digest ${digest}: ${path}`,
      result: { result: 'whole', path, kind: 'folder', ...position, keys, digest },
    };
  }
  const { report, stop } = reporter('checking');
  const manifest = await checkBackup(path, version, report).finally(stop);
  return {
    code: 0,
    line: `whole: ${backupLine(manifest)}, digest ${manifest.digest}: ${path}`,
    result: { result: 'whole', path, kind: 'backup', ...manifestJson(manifest) },
  };
}
