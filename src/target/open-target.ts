/** Opens targets by the text that a user gives. */
import { resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type BackupTarget, type RoomCheck, TargetError } from '../node/ports/backup-target.ts';
import { FolderTarget } from './folder-target.ts';

const URL_SCHEME = /^([a-z][a-z\d+.-]*):\/\//i;

/**
 * @param text a path of a folder, `file:///FOLDER`, or `s3://BUCKET/PREFIX`
 * @param env where object storage and its keys are: S3_ENDPOINT, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN, AWS_REGION
 * @param room is asked before an object gets a file
 * @returns the target; nothing was asked of it yet
 * @throws TargetError BAD_TARGET
 */
export async function openTarget(
  text: string,
  env: Readonly<Record<string, string | undefined>>,
  room?: RoomCheck,
): Promise<BackupTarget> {
  const scheme = URL_SCHEME.exec(text)?.[1]?.toLowerCase();
  if (scheme === undefined && !text.startsWith('file:')) return new FolderTarget(resolve(text), room);
  if (scheme === 'file' || scheme === undefined) return new FolderTarget(folderIn(text), room);
  if (scheme === 's3') {
    const { placeOf } = await import('./s3/place.ts');
    const place = placeOf(text, env);
    // What signs, sends and reads XML is not loaded before it is needed.
    const { S3Target, PATIENCE } = await import('./s3/s3-target.ts');
    return new S3Target(place, PATIENCE, room);
  }
  throw new TargetError(
    'BAD_TARGET',
    `${scheme}://…: a target is a folder, file:///FOLDER or s3://BUCKET/PREFIX`,
  );
}

function folderIn(text: string): string {
  try {
    const url = new URL(text);
    if (url.search === '' && url.hash === '') return resolve(fileURLToPath(url));
  } catch {
    // The text is no URL of a file.
  }
  throw new TargetError('BAD_TARGET', `${text} names no folder; write file:///FOLDER`);
}
