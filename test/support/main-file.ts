/** The program that tests run: the built one, as users do, because it starts faster; the sources if they have changed since. */
import { fileURLToPath } from 'node:url';
import { BUILT_MAIN, isBuilt } from '../../tools/program.ts';

/** Path of the program's first module. */
export const MAIN = isBuilt() ? BUILT_MAIN : fileURLToPath(new URL('../../src/main.ts', import.meta.url));
