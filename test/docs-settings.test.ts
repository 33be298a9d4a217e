/** The documents show settings that a node takes, also in commands that no test runs. */
import assert from 'node:assert/strict';
import { glob, readFile } from 'node:fs/promises';
import test from 'node:test';
import { fileURLToPath } from 'node:url';
import { flagOf } from '../src/settings/setting.ts';
import { SETTINGS } from '../src/settings/table.ts';

const ROOT = fileURLToPath(new URL('../', import.meta.url));
const BY_FLAG = new Map(SETTINGS.map((setting) => [flagOf(setting.name), setting]));
/** Flags of `psyncd serve` that are no settings. */
const OTHERS: ReadonlySet<string> = new Set(['--config', '--help']);
const COMMAND = /(?:\bpsyncd serve|\bnpm start --)((?: +[^\s#`&|>]+)+)/g;
/** Stands for something else, or is a variable of the shell. */
const IS_PLACEHOLDER = /[…$]|^[A-Z:/]+$/;

test('every setting in a command that starts a node has a value that it may have', async () => {
  let count = 0;
  for await (const file of glob(['*.md', 'docs/**/*.md', 'examples/**/*.md'], {
    cwd: ROOT,
    exclude: ['**/node_modules'],
  })) {
    const text = (await readFile(`${ROOT}${file}`, 'utf8')).replaceAll('\\\n', ' ');
    for (const [command, rest = ''] of text.matchAll(COMMAND)) {
      const words = rest.trim().split(/ +/);
      for (let at = 0; at < words.length; at += 1) {
        const flag = words[at] as string;
        if (OTHERS.has(flag)) at += 1;
        if (!flag.startsWith('--') || OTHERS.has(flag)) continue;
        const setting = BY_FLAG.get(flag);
        assert.ok(setting !== undefined, `${file}: ${flag} is no setting: ${command}`);
        if (setting.placeholder === null) continue;
        at += 1;
        const value = (words[at] ?? '').replaceAll(/^['"]|['"]$/g, '');
        if (IS_PLACEHOLDER.test(value)) continue;
        assert.doesNotThrow(() => setting.parse(value), `${file}: ${flag} ${value}`);
        count += 1;
      }
    }
  }
  assert.ok(count > 50, String(count));
});
