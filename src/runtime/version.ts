import { createRequire } from 'node:module';

/** The version in package.json. */
export function version(): string {
  // By the package's own name, which is the same file for a module in `src` and for the built program in `dist`.
  return (createRequire(import.meta.url)('psyncd/package.json') as { version: string }).version;
}
