/** A copy of the code with one bug in it, in a folder of its own. */
import { cp, mkdtemp, readFile, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Mutation } from './mutations.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));

/**
 * @returns the folder, which the caller removes
 * @throws Error if what is to be replaced is not there exactly once
 */
export async function plant({ file, find, replace }: Mutation): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'psyncd-mutation-'));
  await cp(join(ROOT, 'src'), join(folder, 'src'), { recursive: true });
  await cp(join(ROOT, 'test', 'simulation'), join(folder, 'test', 'simulation'), { recursive: true });
  await cp(join(ROOT, 'package.json'), join(folder, 'package.json'));
  await symlink(join(ROOT, 'node_modules'), join(folder, 'node_modules'));
  const path = join(folder, 'src', file);
  const parts = (await readFile(path, 'utf8')).split(find);
  if (parts.length !== 2) throw new Error(`${file} has ${parts.length - 1} times ${find}`);
  await writeFile(path, parts.join(replace));
  return folder;
}
