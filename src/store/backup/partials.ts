/** The files in which backups are made and downloaded, and what killed commands have left of them. */
import { randomBytes } from 'node:crypto';
import { lstatSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';

const PARTIAL = /\.partial-[0-9a-f]{16}(?:\.folder)?$/;
/** Most characters that the name has of that of the backup: file systems take 255 bytes, and a character may have 4. */
const MAX_STEM = 48;
/** A file to which nobody has written for this long belongs to no running command, in milliseconds. */
const LEFT_AFTER_MS = 24 * 60 * 60 * 1_000;

/**
 * Processes in two containers may have one ID; a random name is nobody else's to write or to remove.
 * @param name of the backup, or of what is made of it
 * @returns the name under which it is made, in the same folder; with `.folder` it is that of a folder for the same backup
 */
export function partialName(name: string): string {
  return `${[...name].slice(0, MAX_STEM).join('')}.partial-${randomBytes(8).toString('hex')}`;
}

/** Removes what a command has made under a name of `partialName`. It never throws: the next backup finds what stays. */
export function removePartial(path: string): void {
  for (const suffix of ['', '.folder']) remove(path + suffix);
}

/**
 * Removes what killed commands of this user have left in the folder: to which nobody has written for a day.
 * @param now milliseconds since 1970
 * @returns the paths that are gone
 */
export function removeLeftovers(folder: string, now: number): readonly string[] {
  const paths = namesIn(folder).map((name) => join(folder, name));
  return paths.filter((path) => now - writtenAt(path) > LEFT_AFTER_MS && remove(path));
}

function namesIn(folder: string): readonly string[] {
  try {
    return readdirSync(folder).filter((name) => PARTIAL.test(name));
  } catch {
    return [];
  }
}

/**
 * @returns when the file, or one in the folder, was written last, in milliseconds since 1970; after all times: unknown, or of
 * another user, who could put something else there before it is removed
 */
function writtenAt(path: string): number {
  try {
    const found = lstatSync(path);
    if (process.getuid !== undefined && found.uid !== process.getuid()) return Number.POSITIVE_INFINITY;
    const inside = found.isDirectory() ? readdirSync(path, { recursive: true, encoding: 'utf8' }) : [];
    return Math.max(found.mtimeMs, ...inside.map((name) => lstatSync(join(path, name)).mtimeMs));
  } catch {
    return Number.POSITIVE_INFINITY;
  }
}

/** @returns whether it is gone now */
function remove(path: string): boolean {
  try {
    rmSync(path, { recursive: true, force: true });
    return true;
  } catch {
    return false;
  }
}
