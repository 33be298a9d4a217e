/** A real browser, and the client library as pages load it. */
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { type Browser, chromium } from 'playwright-core';
import { temporaryFolder } from './cluster.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const CHROMIUM = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'].find((path) =>
  existsSync(path),
);
/** CI installs Chromium, and says so; elsewhere a browser that is not there cannot be tested. */
export const WITHOUT_BROWSER =
  CHROMIUM === undefined && process.env.PSYNCD_TEST_EXAMPLES !== 'all' && 'there is no Chromium';

/** Starts Chromium, and ends it after the test. */
export async function launched(t: TestContext, ...flags: readonly string[]): Promise<Browser> {
  if (CHROMIUM === undefined) throw new Error('there is no Chromium');
  // The sandbox needs what containers often do not have; the pages are our own.
  const browser = await chromium.launch({ executablePath: CHROMIUM, args: ['--no-sandbox', ...flags] });
  t.after(() => browser.close());
  return browser;
}

/** @returns a folder with the client, as `npm run build` makes it */
export async function builtClient(t: TestContext): Promise<string> {
  const folder = await temporaryFolder(t);
  const flags = ['-p', 'tsconfig.client.json', '--noEmit', 'false', '--outDir', folder];
  await promisify(execFile)(join(ROOT, 'node_modules', '.bin', 'tsc'), flags, { cwd: ROOT });
  return folder;
}
