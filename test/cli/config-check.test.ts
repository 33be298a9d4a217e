/** `psyncd config check`: it finds what a start would refuse, and changes nothing. */
import assert from 'node:assert/strict';
import { execFile, execFileSync } from 'node:child_process';
import { readdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import { createToken } from '../../src/access/tokens/tokens.ts';
import { temporaryFolder } from '../support/cluster.ts';
import { MAIN } from '../support/main-file.ts';

interface Outcome {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

function check(args: readonly string[], environment: NodeJS.ProcessEnv = {}): Promise<Outcome> {
  return new Promise((resolve) => {
    const child = execFile(
      process.execPath,
      [MAIN, 'config', 'check', ...args],
      { env: { ...process.env, ...environment } },
      (_error, stdout, stderr) => resolve({ code: child.exitCode, stdout, stderr }),
    );
  });
}

test('settings that can be used are said to be so, and no data folder is made', async (t) => {
  const folder = await temporaryFolder(t);
  const tokens = join(folder, 'tokens.json');
  const wanted = { name: 'web', rights: ['read'], prefixes: null, expiresAt: null } as const;
  await createToken(tokens, wanted, Date.now());
  writeFileSync(join(folder, 'psyncd.json'), JSON.stringify({ backlogSize: '8mb', tokensFile: tokens }));
  const args = ['--config', join(folder, 'psyncd.json'), '--data', join(folder, 'data'), '--host', '0.0.0.0'];
  assert.deepEqual(await check(args), { code: 0, stdout: 'The settings can be used.\n', stderr: '' });
  const misspelt = await check(args, { PSYNCD_BACKLOGSIZE: '1mb' });
  assert.deepEqual([misspelt.code, misspelt.stderr], [0, 'psyncd: PSYNCD_BACKLOGSIZE is no setting\n']);
  for (const log of ['-', '/dev/null', join(folder, 'new.log'), join(folder, 'tokens.json')]) {
    assert.equal((await check([...args, '--access-log', log])).code, 0, log);
  }
  assert.deepEqual(readdirSync(folder).sort(), ['psyncd.json', 'tokens.json']);
});

test('what has no effect, and a folder that is not there, is a warning', async (t) => {
  const folder = await temporaryFolder(t);
  const config = join(folder, 'psyncd.json');
  writeFileSync(config, JSON.stringify({ backupRole: 'any' }));
  const args = ['--config', config, '--backup-every', '1h', '--archive-journal-limit', '4gb'];
  const warned = await check(args, { PSYNCD_JWT_MAX_AGE: '1d' });
  assert.deepEqual(
    [warned.code, warned.stdout, warned.stderr.trimEnd().split('\n')],
    [
      0,
      'The settings can be used.\n',
      [
        'psyncd: --jwt-max-age has no effect without --jwt-jwks or --jwt-key-file',
        'psyncd: --backup-every has no effect without --backup-to',
        'psyncd: --backup-role has no effect without --backup-to',
        'psyncd: --archive-journal-limit has no effect without --archive-to',
      ],
    ],
  );
  const targets = ['--backup-to', folder, '--archive-to', join(folder, 'none')];
  const { code, stderr } = await check([...args, ...targets]);
  assert.deepEqual(
    [code, stderr],
    [
      0,
      `psyncd: --archive-to: ${join(folder, 'none')} is no folder that this user can see; the node does not make it\n`,
    ],
  );
});

test('whatever cannot be used is named: the setting, the file, the token and its member', async (t) => {
  const folder = await temporaryFolder(t);
  const file = (name: string, text: string): string => {
    writeFileSync(join(folder, name), text);
    return join(folder, name);
  };
  const token = { id: 'abcdefgh', name: 'web', sha256: 'a'.repeat(64), createdAt: '2026-01-01T00:00:00Z' };
  let files = 0;
  const tokens = (...list: readonly object[]): string => {
    files += 1;
    return file(`tokens${files}.json`, JSON.stringify({ tokens: list }));
  };
  const good = { ...token, rights: ['read'] };
  const [astray, pipe] = [join(folder, 'astray'), join(folder, 'pipe')];
  symlinkSync(join(folder, 'none', 'log'), astray);
  execFileSync('mkfifo', [pipe]);
  for (const [args, said] of [
    [['--port', 'x'], /^psyncd: --port: expected a whole number/],
    [
      ['--config', file('config.json', '{"port": 1, "color": 2}')],
      /config\.json: there is no setting "color"/,
    ],
    [['--tokens-file', join(folder, 'none.json')], /none\.json: there is no such file/],
    [['--tokens-file', file('half.json', '{"tokens": [')], /half\.json: it is not JSON/],
    [
      ['--tokens-file', tokens(good, { ...good, rights: ['fly'] })],
      /tokens\d\.json: token 2: rights: there is no/,
    ],
    [['--tokens-file', tokens(good, good)], /tokens\d\.json: token 2: .* is in the list twice/],
    [['--tokens-file', tokens({ ...good, expiresAt: 'soon' })], /token 1: "expiresAt" is no date/],
    [['--tls-cert', file('cert.pem', 'x'), '--tls-key', file('key.pem', 'x')], /--tls-\w+ .*\.pem/],
    [['--backup-to', 's3://b/p'], /--backup-to: s3:\/\/b: the name of a bucket has 3 to 63/],
    [['--archive-to', 'gs://bucket'], /--archive-to: gs:.*a target is a folder/],
    [['--backup-to', 'gs://bucket'], /--backup-to: gs:.*a target is a folder/],
    [['--upstream-ca', file('ca.pem', 'x')], /--upstream-ca .*ca\.pem/],
    [['--upstream-token-file', file('token', 'two words')], /token: expected one token/],
    [['--access-log', folder], /--access-log: .*directory/],
    [['--access-log', join(folder, 'none', 'log')], /--access-log: .*none/],
    [['--access-log', join(folder, 'none/')], /--access-log: .*none/],
    [['--access-log', join(file('plain', ''), 'log')], /--access-log: .*plain/],
    [['--access-log', astray], /--access-log: .*none/],
    [['--access-log', pipe], /--access-log: .* is no file; - is standard output/],
    [['--jwt-key-file', file('jwt.pem', 'x'), '--jwt-audience', 'a'], /--jwt-key-file .*jwt\.pem/],
  ] as const) {
    const { code, stdout, stderr } = await check(args);
    assert.deepEqual([code, stdout], [1, ''], args.join(' '));
    assert.match(stderr, said);
    assert.equal(stderr.trim().split('\n').length, 1, 'one line');
  }
});
