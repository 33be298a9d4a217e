/** The file of tokens on the disk. */
import assert from 'node:assert/strict';
import { lstatSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import { createToken, listTokens, revokeToken } from '../../src/access/tokens/tokens.ts';
import { temporaryFolder } from '../support/cluster.ts';

const WANTED = { name: 'web', rights: ['read'], prefixes: null, expiresAt: null } as const;

test('a list behind a symbolic link is changed where it is, and the link stays', async (t) => {
  const folder = await temporaryFolder(t);
  mkdirSync(join(folder, 'secrets'));
  const [link, real] = [join(folder, 'tokens.json'), join(folder, 'secrets', 'list.json')];
  writeFileSync(real, '{"tokens":[]}');
  symlinkSync(real, link);
  const { record } = await createToken(link, WANTED, Date.now());
  assert.ok(lstatSync(link).isSymbolicLink());
  assert.match(readFileSync(real, 'utf8'), new RegExp(record.id));
  await revokeToken(real, record.id);
  assert.deepEqual(await listTokens(link), []);
});
