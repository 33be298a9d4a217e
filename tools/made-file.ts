/** Files that are made from the sources and kept in the repository. */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';

/**
 * Writes the file. With `--check` on the command line it compares the file instead, and a difference makes the process fail.
 * @param path path from the repository's root
 * @param command the npm script that makes the file
 */
export function make(path: string, text: string, command = 'openapi'): void {
  const file = new URL(`../${path}`, import.meta.url);
  if (!process.argv.includes('--check')) {
    writeFileSync(file, text);
  } else if (!existsSync(file) || readFileSync(file, 'utf8') !== text) {
    process.stderr.write(`${path} is not what the sources say: run npm run ${command}\n`);
    process.exitCode = 1;
  }
}
