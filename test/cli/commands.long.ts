/** Commands that call one route each, as a user types them, and their exit codes. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import test from 'node:test';
import type { ChildNode } from '../../src/cli/child-node.ts';
import { Cluster, converged, temporaryFolder } from '../support/cluster.ts';
import { MAIN } from '../support/main-file.ts';

interface Outcome {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

function run(file: string, args: readonly string[], environment: NodeJS.ProcessEnv = {}): Promise<Outcome> {
  return new Promise((resolve) => {
    const options = { env: { ...process.env, ...environment }, maxBuffer: 64 * 1024 * 1024 };
    execFile(file, args, options, (error, stdout, stderr) => {
      resolve({ code: error === null ? 0 : Number(error.code), stdout, stderr });
    });
  });
}

function psyncd(node: ChildNode, ...args: readonly string[]): Promise<Outcome> {
  return run(process.execPath, [MAIN, ...args], { PSYNCD_NODE: node.url });
}

async function output(node: ChildNode, ...args: readonly string[]): Promise<string> {
  const { code, stdout, stderr } = await psyncd(node, ...args);
  assert.equal(code, 0, `${args.join(' ')}: ${stderr}`);
  return stdout;
}

test('incr prints the sum; set takes an expiry and conditions; keys lists what is there, page after page', async (t) => {
  const cluster = await Cluster.create(t);
  const node = await cluster.start('node');
  assert.equal(await output(node, 'incr', 'n'), '1\n');
  assert.equal(await output(node, 'incr', 'n', '9007199254740993'), '9007199254740994\n');
  for (const sum of ['9007199254740995', '9007199254740996', '9007199254740997']) {
    assert.equal(await output(node, 'incr', 'n'), `${sum}\n`);
  }
  assert.equal(await output(node, 'incr', 'n', '--', '-3'), '9007199254740994\n');
  assert.equal(await output(node, 'incr', 'n', '--', '-9007199254740994'), '0\n');
  assert.match(await output(node, 'set', 'e', 'v', '--ttl', '0.5', '--if-absent'), /^created/);
  for (const [ttl, seconds] of [
    ['60', 60],
    ['15m', 900],
    ['12h', 43_200],
  ] as const) {
    await output(node, 'set', 'ttl', 'v', '--ttl', ttl);
    const { expiresAt } = (await node.client.entry('ttl')) ?? assert.fail();
    const left = (expiresAt ?? 0) - Date.now();
    assert.ok(left > (seconds - 50) * 1_000 && left <= seconds * 1_000, `${ttl}: ${left}`);
  }
  assert.equal(await output(node, 'del', 'ttl'), 'deleted\n');
  const { version } = (await node.client.entry('n')) ?? assert.fail();
  assert.match(await output(node, 'set', 'n', 'v', '--if-version', String(version)), /^replaced/);
  for (const condition of [['--if-version', String(version)], ['--if-absent']]) {
    const { code, stderr } = await psyncd(node, 'set', 'n', 'w', ...condition);
    assert.deepEqual([code, /PRECONDITION_FAILED/.test(stderr)], [1, true]);
  }
  const lines = Array.from({ length: 1_200 }, (_, index) => `{"key":"p:${index}","value":"v"}\n`);
  await node.client.import(lines.join(''));
  const keys = (await output(node, 'keys', 'p:')).trimEnd().split('\n');
  assert.equal(new Set(keys).size, 1_200);
  assert.equal(await output(node, 'keys', 'p:', '--limit', '2'), 'p:0\np:1\n');
  const [first] = (await output(node, 'keys', 'n', '--json')).split('\n');
  assert.deepEqual(Object.keys(JSON.parse(first ?? '')).sort(), ['expiresAt', 'key', 'size', 'version']);
  assert.equal(await output(node, 'keys', 'none'), '');
});

test('diff lists the keys that are different between two positions, page after page', async (t) => {
  const cluster = await Cluster.create(t);
  const node = await cluster.start('node');
  const from = `${node.ready.runId}:0`;
  const lines = Array.from({ length: 1_200 }, (_, index) => `{"key":"p:${index}","value":"v"}\n`);
  await node.client.import(lines.join(''));
  const { position } = await node.client.replication();
  const { code, stdout, stderr } = await psyncd(node, 'diff', from);
  assert.equal(code, 0, stderr);
  const added = stdout.trimEnd().split('\n');
  assert.deepEqual([added.length, new Set(added).size], [1_200, 1_200]);
  assert.ok(added.every((line) => /^added\tp:\d+$/.test(line)));
  assert.equal(stderr, `psyncd: since ${from}, until ${position}\n`);
  assert.equal(await output(node, 'diff', '2026-01-01T05:00:00+01:00'), stdout);
  await node.client.delete('p:7');
  await node.client.set('q\n', 'v');
  await node.client.set('p:8', 'w');
  assert.equal(await output(node, 'diff', position), 'removed\tp:7\nchanged\tp:8\nadded\tq\\n\n');
  assert.equal(await output(node, 'diff', position, '--prefix', 'q'), 'added\tq\\n\n');
  const [first] = (await output(node, 'diff', position, '--json')).split('\n');
  assert.deepEqual(JSON.parse(first ?? ''), { key: 'p:7', change: 'removed', version: null });
  assert.equal(await output(node, 'diff', from, position, '--prefix', 'q'), '');
  await node.client.deleteAll();
  assert.match((await psyncd(node, 'diff', position)).stderr, /all entries were deleted at [0-9a-f]{40}:\d+/);
  for (const wrong of [['diff', 'now'], ['diff', from, 'now'], ['diff']]) {
    assert.equal((await psyncd(node, ...wrong)).code, 2, wrong.join(' '));
  }
  const lost = await psyncd(node, 'diff', `${'0'.repeat(40)}:1`);
  assert.deepEqual([lost.code, /^psyncd: .*POSITION_LOST/m.test(lost.stderr)], [1, true], lost.stderr);
});

test('digest compares nodes, sessions shows and ends them, accept has something to accept or says so', async (t) => {
  const cluster = await Cluster.create(t);
  const master = await cluster.start('master');
  const replica = await cluster.start('replica', '--replica-of', master.wsUrl);
  await master.client.set('k', 'v');
  await converged(master, replica);
  assert.match(await output(master, 'digest'), /^[0-9a-f]{32} {2}1 entry, at /);
  assert.match(await output(replica, 'digest', '--against', master.url), /\nequal\n$/);
  assert.equal(JSON.parse(await output(replica, 'digest', '--against', master.url, '--json')).equal, true);
  const shown = await output(master, 'sessions');
  assert.match(shown, /^#1 ws:\/\/127\.0\.0\.1:\d+ {2}open\n {2}\S+Z {2}connected/);
  assert.equal(JSON.parse(await output(master, 'sessions', '--json')).sessions[0].id, '1');
  assert.equal(await output(master, 'sessions', 'end', '1'), 'ended\n');
  assert.equal((await psyncd(master, 'sessions', 'end', '1')).code, 3);
  const { code, stderr } = await psyncd(replica, 'accept');
  assert.deepEqual([code, /NOTHING_GUARDED/.test(stderr)], [1, true]);
});

test('config shows the settings of a running node, and changes those that may change', async (t) => {
  const cluster = await Cluster.create(t);
  const node = await cluster.start('node');
  assert.match(await output(node, 'config', 'get'), /^host=127\.0\.0\.1$/m);
  assert.equal(await output(node, 'config', 'get', 'fsync'), 'everysec\n');
  assert.equal(JSON.parse(await output(node, 'config', 'get', 'fsync', '--json')).fsync, 'everysec');
  assert.equal(
    await output(node, 'config', 'set', 'backlogSize=2mb', 'replTimeout=30s'),
    'backlogSize=2mb\nreplTimeout=30s\n',
  );
  assert.equal(await output(node, 'config', 'set', 'repl-timeout=61s'), 'replTimeout=61s\n');
  assert.equal(await output(node, 'config', 'set', 'PSYNCD_REPL_TIMEOUT=1500ms'), 'replTimeout=1500ms\n');
  for (const spelling of ['backlog-size', 'PSYNCD_BACKLOG_SIZE', 'backlogsize'])
    assert.equal(await output(node, 'config', 'get', spelling), '2mb\n');
  for (const [args, code] of [
    [['get', 'nothing'], 3],
    [['set', 'nothing=1'], 3],
    [['set', 'constructor=1'], 3],
    [['set', 'fsync=no'], 1],
    [['set', 'backlogSize=3mb', 'replTimeout=never'], 1],
    [['set', 'backlogSize'], 2],
    [['set'], 2],
  ] as const) {
    assert.equal((await psyncd(node, 'config', ...args)).code, code, args.join(' '));
  }
  assert.equal(await output(node, 'config', 'get', 'backlogSize'), '2mb\n');
});

test('what config get shows can be written into a config file', async (t) => {
  const cluster = await Cluster.create(t);
  const given = ['--allow-host', 'a.example,b.example', '--allow-origin', '*', '--repl-timeout', '61s'];
  const node = await cluster.start('node', ...given, '--trust-proxy', '10.0.0.0/8', '--trust-proxy', '::1');
  const lines = (await output(node, 'config', 'get')).trimEnd().split('\n');
  const shown = new Map(lines.map((line) => line.split(/=(.*)/s).slice(0, 2) as [string, string]));
  assert.equal(shown.get('allowHost'), 'a.example,b.example');
  assert.equal(shown.get('allowOrigin'), '*');
  assert.equal(shown.get('trustProxy'), '10.0.0.0/8,::1');
  const file = cluster.data('psyncd.json');
  const written = [...shown].filter(([, value]) => value !== 'null');
  const values = { ...Object.fromEntries(written), allowHost: ['a.example', 'b.example'] };
  await writeFile(file, JSON.stringify(values));
  await node.stop();
  const again = await cluster.start('node', '--config', file, '--port', String(node.port));
  assert.equal(await output(again, 'config', 'get'), `${lines.join('\n')}\n`);
});

test('a token that is not in the list, and a list that is not there, are not there', async (t) => {
  const folder = await temporaryFolder(t);
  const list = join(folder, 'tokens.json');
  const revoked = (): Promise<Outcome> =>
    run(process.execPath, [MAIN, 'token', 'revoke', 'zzz', '--tokens', list]);
  const missing = await revoked();
  assert.deepEqual([missing.code, missing.stderr], [3, `psyncd: there is no list of tokens at ${list}\n`]);
  await run(process.execPath, [MAIN, 'token', 'create', 'me', '--rights', 'admin', '--tokens', list]);
  const { code, stderr } = await revoked();
  assert.deepEqual([code, /there is no token with the ID "zzz"/.test(stderr)], [3, true]);
});

test('hold lets writes wait for a time, and ends that', async (t) => {
  const cluster = await Cluster.create(t);
  const node = await cluster.start('node');
  assert.match(
    await output(node, 'hold', '5m'),
    /^writes wait for (?:300000|2999\d\d) ms; psyncd hold 0 ends that$/m,
  );
  const written = node.client.set('k', 'v');
  assert.equal(await output(node, 'hold', '0'), 'writes go on\n');
  assert.equal((await written).created, true);
  for (const time of ['11m', '5', 'soon', '-1s'])
    assert.equal((await psyncd(node, 'hold', '--', time)).code, 2, time);
});

test('a command warns of a variable that nothing reads, and takes the file with the token from one', async (t) => {
  const cluster = await Cluster.create(t);
  const list = join(cluster.data('node'), 'tokens.json');
  const token = ['token', 'create', 'me', '--rights', 'admin', '--tokens', list];
  await writeFile(cluster.data('token'), (await run(process.execPath, [MAIN, ...token])).stdout);
  const node = await cluster.start('node');
  const asked = (more: Record<string, string>): Promise<Outcome> =>
    run(process.execPath, [MAIN, 'sessions'], { PSYNCD_NODE: node.url, ...more });
  const file = { PSYNCD_TOKEN_FILE: cluster.data('token') };
  assert.deepEqual(await asked(file), { code: 0, stdout: 'no replica has connected\n', stderr: '' });
  const misspelt = await asked({ ...file, PSYNCD_TOKENFILE: 'x' });
  assert.deepEqual(
    [misspelt.code, misspelt.stderr],
    [0, 'psyncd: PSYNCD_TOKENFILE is neither a setting nor an option of a command\n'],
  );
  const none = await asked({ PSYNCD_TOKEN_FILE: cluster.data('none') });
  assert.deepEqual([none.code, /^psyncd: PSYNCD_TOKEN_FILE: /.test(none.stderr)], [2, true]);
  const both = await asked({ ...file, PSYNCD_TOKEN: 'nonsense' });
  assert.equal(both.code, 1, 'the token itself counts more');
});

test('failover at a replica names its master', async (t) => {
  const cluster = await Cluster.create(t);
  const master = await cluster.start('master');
  const replica = await cluster.start('replica', '--replica-of', master.wsUrl);
  const { code, stderr } = await psyncd(replica, 'failover');
  assert.equal(code, 1);
  assert.ok(stderr.includes(`ask its master to hand over (psyncd failover --node ${master.url})`), stderr);
});

test('wrong numbers are wrong usage, and an empty variable counts as not set', async (t) => {
  const cluster = await Cluster.create(t);
  const node = await cluster.start('node');
  for (const args of [
    ['incr', 'n', 'x'],
    ['incr', 'n', '1.5'],
    ['set', 'k', 'v', '--ttl', '0'],
    ['set', 'k', 'v', '--ttl', 'soon'],
    ['set', 'k', 'v', '--ttl', '0s'],
    ['set', 'k', 'v', '--ttl', '1w'],
    ['set', 'k', 'v', '--if-version', '-1'],
    ['set', 'k', 'v', '--if-version', '1', '--if-absent'],
    ['keys', '--limit', 'all'],
    ['completion', 'tcsh'],
  ]) {
    assert.equal((await psyncd(node, ...args)).code, 2, args.join(' '));
  }
  assert.deepEqual((await node.client.page()).keys, []);
  const empty = { PSYNCD_NODE: '', PSYNCD_TOKEN: '', PSYNCD_CA: '', PSYNCD_CERT: '', PSYNCD_KEY: '' };
  assert.equal((await run(process.execPath, [MAIN, 'keys', '--node', node.url], empty)).code, 0);
});

test('follow and get give whole values to a pipe', async (t) => {
  const cluster = await Cluster.create(t);
  const node = await cluster.start('node');
  const value = 'x'.repeat(300_000);
  await node.client.set('k', value);
  assert.equal(await output(node, 'get', 'k'), value);
  const child = execFile(process.execPath, [MAIN, 'follow', '--node', node.url]);
  t.after(() => child.kill());
  let text = '';
  for await (const chunk of child.stdout ?? []) {
    text += chunk;
    if (text.includes('synced')) break;
  }
  assert.ok(text.includes(`\t${value}`), 'the whole value');
});

test('bash completes commands, their subcommands and their flags', async (t) => {
  const script = join(await temporaryFolder(t), 'completion.bash');
  await writeFile(script, (await run(process.execPath, [MAIN, 'completion', 'bash'])).stdout);
  const complete = async (...words: readonly string[]): Promise<string> => {
    const program = `source "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _psyncd; echo "\${COMPREPLY[*]}"`;
    return (await run('bash', ['-c', program, 'bash', script, 'psyncd', ...words])).stdout.trimEnd();
  };
  assert.equal(await complete('fol'), 'follow');
  assert.equal(await complete('config', 's'), 'set');
  assert.equal(await complete('set', 'k', 'v', '--if'), '--if-version --if-absent');
  assert.equal(await complete('get', '--node', ''), '', 'values are not flags');
  assert.match(await complete('serve', '--backlog'), /--backlog-size/);
  assert.equal(await complete('serve', '--fsync', ''), 'always everysec no');
  assert.equal(await complete('serve', '--log-level', 'd'), 'debug');
  assert.match(await complete('token', 'create', 'me', '--rights', ''), /^read write .*admin/);
  assert.equal(await complete('config', 'get', 'backlogS'), 'backlogSize');
  assert.equal(await complete('config', 'set', 'backlogS'), 'backlogSize=');
  assert.equal(await complete('completion', 'b'), 'bash');
  for (const shell of ['zsh', 'fish']) {
    const { code, stdout } = await run(process.execPath, [MAIN, 'completion', shell]);
    assert.deepEqual([code, /if-absent/.test(stdout)], [0, true], shell);
  }
});
