/** psyncd as users run it: the result of `npm run build`. */
import { execFile } from 'node:child_process';
import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const SOURCES = join(ROOT, 'src');

/** For `ChildNode.start`. */
export const BUILT_MAIN = join(ROOT, 'dist', 'main.js');

/**
 * Builds the package if it is missing or older than its sources.
 * @param progress called when it builds
 */
export async function build(progress: (line: string) => void): Promise<void> {
  if ((await changedAt(BUILT_MAIN)) > (await lastChange())) return;
  progress('building dist, which is older than src');
  await promisify(execFile)('npm', ['run', 'build'], { cwd: ROOT });
}

/** Time of the last change of any file or folder in src: a folder changes when one of its files is removed. */
async function lastChange(): Promise<number> {
  const names = await readdir(SOURCES, { recursive: true });
  return Math.max(...(await Promise.all(['', ...names].map((name) => changedAt(join(SOURCES, name))))));
}

/** @returns milliseconds since 1970; 0: the file does not exist */
async function changedAt(path: string): Promise<number> {
  return stat(path).then(
    ({ mtimeMs }) => mtimeMs,
    () => 0,
  );
}
