/** A copy of the code with one bug in it, in a folder of its own. */
import { cp, mkdtemp, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { findCode, sourcesOf } from './code-place.ts';
import type { Mutation } from './mutations.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));

/**
 * @returns the folder, which the caller removes
 * @throws Error if what is to be replaced is not there exactly once
 */
export async function plant({ in: name, find, replace }: Mutation): Promise<string> {
  const { path, text, from, to } = findCode(await sourcesOf(join(ROOT, 'src')), name, find);
  const folder = await mkdtemp(join(tmpdir(), 'psyncd-mutation-'));
  await cp(join(ROOT, 'src'), join(folder, 'src'), { recursive: true });
  await cp(join(ROOT, 'test', 'simulation'), join(folder, 'test', 'simulation'), { recursive: true });
  await cp(join(ROOT, 'package.json'), join(folder, 'package.json'));
  await symlink(join(ROOT, 'node_modules'), join(folder, 'node_modules'));
  await writeFile(join(folder, 'src', path), `${text.slice(0, from)}${replace}${text.slice(to)}`);
  return folder;
}
