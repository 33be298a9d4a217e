/**
 * Finds the files below a folder of a target. Links are followed, as a put follows them: an administrator may have moved a part of
 * the target to another disk. A link to a folder that is found anyway is passed over, so that nothing has two names and no link
 * leads in a circle.
 */
import type { Dirent } from 'node:fs';
import { opendir, realpath, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { TargetError } from '../node/ports/backup-target.ts';
import { isWithin, overlap, realPathOf, unlessGone } from './folder-files.ts';
import { isTargetName } from './names.ts';

/** Folders below the target that are looked into; names of psyncd have three segments. */
const MAX_DEPTH = 8;
/** Most links in one folder, and most that are followed in all. */
const MAX_LINKS = 1_000;
/** Folder at the root of a disk that belongs to the file system: only the superuser may read it, and no backup is in it. */
const OF_FILE_SYSTEM = 'lost+found';

/** Turns an error of the file system into one for people. */
type Asked = <T>(what: string, work: () => Promise<T>) => Promise<T>;

export class FolderWalk {
  readonly #root: string;
  readonly #asked: Asked;
  /** Real paths of the target, and of the folders to which links have led. */
  readonly #seen = new Set<string>();

  /** @param root absolute path of the target */
  constructor(root: string, asked: Asked) {
    this.#root = root;
    this.#asked = asked;
  }

  /** @returns the names of all files below a folder, also of those that are no names of objects @throws TargetError */
  async *files(folder: string): AsyncGenerator<string> {
    const root = await this.#real(this.#root);
    const begin = await this.#real(this.#path(folder));
    if (root === null || begin === null) return;
    this.#seen.add(root).add(begin);
    yield* this.#below(folder, begin, root, 0);
  }

  /** @param real path of the folder without links @param root path of the target without links */
  async *#below(folder: string, real: string, root: string, depth: number): AsyncGenerator<string> {
    const links: string[] = [];
    for await (const entry of this.#entries(this.#path(folder))) {
      const name = folder === '' ? entry.name : `${folder}/${entry.name}`;
      if (name === OF_FILE_SYSTEM) continue;
      const isDeeper = depth < MAX_DEPTH && isTargetName(name);
      if (entry.isFile()) yield name;
      else if (entry.isDirectory() && isDeeper) {
        const path = join(real, entry.name);
        if (!this.#seen.has(path)) yield* this.#below(name, path, root, depth + 1);
      }
      if (entry.isSymbolicLink() && isDeeper) links.push(name);
      if (links.length > MAX_LINKS) throw this.#tooMany();
    }
    // Of several links to one folder the first name counts, each time.
    for (const name of links.sort()) yield* this.#behind(name, root, depth + 1);
  }

  async *#behind(name: string, root: string, depth: number): AsyncGenerator<string> {
    const path = this.#path(name);
    const what = `cannot list ${path}`;
    const real = await this.#asked(what, () => realPathOf(path));
    if (real === null) return;
    const found = await this.#asked(what, () => unlessGone(stat(real)));
    if (found?.isFile()) yield name;
    if (!found?.isDirectory() || overlap(root, real) || this.#isSeen(real)) return;
    if (this.#seen.size > MAX_LINKS) throw this.#tooMany();
    this.#seen.add(real);
    yield* this.#below(name, real, root, depth);
  }

  #isSeen(real: string): boolean {
    for (const seen of this.#seen) if (isWithin(real, seen)) return true;
    return false;
  }

  /** @returns the path without links; null: nothing is there */
  async #real(path: string): Promise<string | null> {
    return await this.#asked(`cannot list ${path}`, () => unlessGone(realpath(path)));
  }

  async *#entries(path: string): AsyncGenerator<Dirent> {
    const what = `cannot list ${path}`;
    // A folder that went meanwhile, or was never made, has no files.
    const opened = await this.#asked(what, () => unlessGone(opendir(path)));
    if (opened === null) return;
    try {
      for (;;) {
        const entry = await this.#asked(what, () => opened.read());
        if (entry === null) return;
        yield entry;
      }
    } finally {
      await opened.close();
    }
  }

  #path(name: string): string {
    return join(this.#root, ...name.split('/'));
  }

  #tooMany(): TargetError {
    return new TargetError('TARGET_FAILED', `cannot list ${this.#root}: it has more than ${MAX_LINKS} links`);
  }
}
