/** Copies of data folders: how they are made, kept and put back. */
import { cp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Place } from './place.ts';

/** So many are kept. */
const MAX_COPIES = 6;

export interface Copy {
  readonly of: Place;
  readonly path: string;
}

export class FolderCopies {
  readonly #folder: string;
  readonly #random: () => number;
  readonly #count: (what: string) => void;
  #copies: Copy[] = [];
  #made = 0;

  /** @param folder where the copies are kept, @param count notes what was done */
  constructor(folder: string, random: () => number, count: (what: string) => void) {
    this.#folder = folder;
    this.#random = random;
    this.#count = count;
  }

  /** Keeps a copy of the folder: of a running node, a stopped one, or a killed one. */
  async make(place: Place): Promise<Copy> {
    this.#made += 1;
    const copy = { of: place, path: join(this.#folder, `copy${this.#made}`) };
    const work = (): Promise<void> => cp(place.data, copy.path, { recursive: true });
    const chance = this.#random();
    if (chance < 0.5) {
      this.#count('copies while running');
      await place.paused(work);
    } else {
      this.#count('copies while down');
      await place.node.stop(chance < 0.8 ? 'SIGTERM' : 'SIGKILL');
      await work();
      await place.start();
    }
    this.#copies.push(copy);
    if (this.#copies.length > MAX_COPIES) {
      const [dropped] = this.#copies.splice(Math.floor(this.#random() * (MAX_COPIES - 1)), 1);
      await rm((dropped as Copy).path, { recursive: true });
    }
    return copy;
  }

  /** Returns one of the copies, or null if there are none. */
  any(): Copy | null {
    return this.#copies[Math.floor(this.#random() * this.#copies.length)] ?? null;
  }
}

/** Another folder takes the place's: the files are other ones. */
export async function replaceFolder(path: string, place: Place): Promise<void> {
  await rm(place.data, { recursive: true });
  await cp(path, place.data, { recursive: true });
}

/** As `cat copy/file > data/file` of each; what the copy does not have stays. */
export async function putOver(copy: string, data: string): Promise<void> {
  for (const name of await readdir(copy)) await writeFile(join(data, name), await readFile(join(copy, name)));
}

/** As `cat copy/file > data/file` of each, and `rm` of what the copy does not have. */
export async function overwrite(copy: string, data: string): Promise<void> {
  const names = new Set(await readdir(copy));
  for (const name of await readdir(data)) {
    if (!names.has(name)) await rm(join(data, name), { recursive: true });
  }
  await putOver(copy, data);
}
