/** A node that cannot start says why in one line, exits with 1, and has changed nothing. */
import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import test, { type TestContext } from 'node:test';
import { Cluster, temporaryFolder, textOf } from '../support/cluster.ts';
import { MAIN } from '../support/main-file.ts';

interface Outcome {
  readonly code: number | null;
  readonly stdout: string;
  /** What went to standard error, without the log. */
  readonly lines: readonly string[];
}

function psyncd(args: readonly string[], preload: readonly string[] = []): Promise<Outcome> {
  return new Promise((resolve) => {
    const child = execFile(
      process.execPath,
      [...preload, MAIN, ...args],
      { timeout: 30_000 },
      (_error, stdout, stderr) => {
        const lines = stderr.split('\n').filter((line) => line !== '' && !line.startsWith('{"level"'));
        resolve({ code: child.exitCode, stdout, lines });
      },
    );
  });
}

/** The folder's files and their contents, as one comparable value. */
async function contents(folder: string): Promise<Record<string, string>> {
  const files: Record<string, string> = {};
  for (const name of (await readdir(folder)).sort()) {
    files[name] = (await readFile(join(folder, name))).toString('base64');
  }
  return files;
}

async function refuses(
  args: readonly string[],
  line: RegExp,
  code = 1,
  preload: readonly string[] = [],
): Promise<void> {
  const outcome = await psyncd(args, preload);
  assert.deepEqual(
    { code: outcome.code, count: outcome.lines.length },
    { code, count: 1 },
    outcome.lines.join('\n'),
  );
  assert.match(outcome.lines[0] ?? '', line);
  assert.equal(outcome.stdout, '');
}

/** The data folder of a node that has stopped: with entries, and an overlay that was applied. */
async function usedFolder(cluster: Cluster): Promise<string> {
  const node = await cluster.start('used');
  await node.client.set('k', 'v');
  await node.client.digest();
  await node.stop();
  return cluster.data('used');
}

test('a node whose port is taken does not start, and names the port', async (t) => {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => server.close());
  const { port } = server.address() as { port: number };
  const folder = await temporaryFolder(t);
  await refuses(
    ['serve', '--port', String(port), '--data', join(folder, 'data')],
    /port \d+ on 127.0.0.1 is taken/,
  );
  assert.deepEqual(await readdir(folder), []);
});

/** Preloaded into a node: this machine's `localhost` has these addresses, both of which every Linux has. */
const TWO_ADDRESSES = `data:text/javascript,${encodeURIComponent(`
  import dns from 'node:dns';
  import { syncBuiltinESMExports } from 'node:module';
  dns.promises.lookup = async () => [{ address: '127.0.0.1', family: 4 }, { address: '127.0.0.2', family: 4 }];
  syncBuiltinESMExports();
`)}`;

test('a node whose port is taken on any address of localhost does not start', {
  skip: process.platform !== 'linux' && 'no 127.0.0.2 here',
}, async (t) => {
  const server = createServer().listen(0, '127.0.0.2');
  await once(server, 'listening');
  t.after(() => server.close());
  const { port } = server.address() as { port: number };
  const folder = await temporaryFolder(t);
  const flags = ['serve', '--host', 'localhost', '--port', String(port), '--data', join(folder, 'data')];
  await refuses(flags, /port \d+ on localhost is taken/, 1, ['--import', TWO_ADDRESSES]);
  assert.deepEqual(await readdir(folder), []);
});

test('a node that cannot start leaves a new folder unmade, and an old one as it was', async (t) => {
  const cluster = await Cluster.create(t);
  const node = await cluster.start('running');
  const taken = ['serve', '--port', String(node.port), '--data'];
  const folder = await temporaryFolder(t);
  await refuses([...taken, join(folder, 'new', 'data')], /is taken/);
  assert.deepEqual(await readdir(folder), []);
  const used = await usedFolder(cluster);
  const before = await contents(used);
  await refuses([...taken, used], /is taken/);
  assert.deepEqual(await contents(used), before);
});

test('a data folder in use by another process is refused', async (t) => {
  const cluster = await Cluster.create(t);
  const node = await cluster.start('node');
  await node.client.set('k', 'v');
  await refuses(
    ['serve', '--port', '0', '--data', cluster.data('node')],
    /psyncd\.db is in use by another process/,
  );
  assert.equal(await textOf(node, 'k'), 'v');
});

test('of an older psyncd, which holds psyncd.db in SQLite’s exclusive mode, and this one, the second is refused', async (t) => {
  const cluster = await Cluster.create(t);
  const folder = await usedFolder(cluster);
  const { default: Database } = await import('better-sqlite3');
  const startOlder = () => {
    const db = new Database(join(folder, 'psyncd.db'), { timeout: 0 });
    try {
      db.pragma('locking_mode = EXCLUSIVE');
      db.pragma('journal_mode = WAL');
      db.prepare('UPDATE node SET clean = clean').run();
      return db;
    } catch (error) {
      db.close();
      throw error;
    }
  };
  const older = startOlder();
  await refuses(['serve', '--port', '0', '--data', folder], /psyncd\.db is in use by another process/);
  older.close();
  const node = await cluster.start('used');
  assert.throws(startOlder, { code: 'SQLITE_BUSY' });
  await node.client.set('k', 'w');
  assert.equal(await node.stop(), 0);
  startOlder().close();
  assert.equal(await textOf(await cluster.start('used'), 'k'), 'w');
});

test('a data folder that is a file is refused', async (t) => {
  const folder = await temporaryFolder(t);
  await writeFile(join(folder, 'file'), 'mine');
  await refuses(['serve', '--port', '0', '--data', join(folder, 'file')], /is not a folder/);
  await refuses(['serve', '--port', '0', '--data', join(folder, 'file', 'data')], /is not a folder/);
  assert.deepEqual(await contents(folder), { file: Buffer.from('mine').toString('base64') });
});

test('a data folder that cannot be written is refused', async () => {
  // Root may write wherever there is a real file system, so the test takes one where nobody can.
  await refuses(
    ['serve', '--port', '0', '--data', '/proc/psyncd'],
    /the data folder \/proc\/psyncd cannot be used/,
  );
});

test('a folder with files of another program is refused', async (t) => {
  const folder = await temporaryFolder(t);
  await mkdir(join(folder, 'photos'));
  await refuses(['serve', '--port', '0', '--data', folder], /is no data folder of psyncd/);
  assert.deepEqual(await readdir(folder), ['photos']);
});

test('a psyncd.db that is another program’s database is refused', async (t) => {
  const folder = await temporaryFolder(t);
  const { default: Database } = await import('better-sqlite3');
  const db = new Database(join(folder, 'psyncd.db'));
  db.exec('CREATE TABLE photos (name TEXT)');
  db.close();
  await refuses(['serve', '--port', '0', '--data', folder], /psyncd\.db is no state file of psyncd/);
});

for (const file of ['psyncd.db', 'keyspace-1.db']) {
  test(`${file} is damaged: overwritten, or cut short`, async (t) => {
    const cluster = await Cluster.create(t);
    const folder = await usedFolder(cluster);
    const whole = await readFile(join(folder, file));
    for (const damaged of [
      Buffer.concat([Buffer.alloc(100, 7), whole.subarray(100)]),
      whole.subarray(0, 5_000),
    ]) {
      await writeFile(join(folder, file), damaged);
      const before = await contents(folder);
      await refuses(
        ['serve', '--port', '0', '--data', folder],
        new RegExp(`${file.replace('.', '\\.')} is damaged`),
      );
      assert.deepEqual((await contents(folder))[file], before[file]);
    }
    await writeFile(join(folder, file), whole);
    const node = await cluster.start('used');
    assert.equal(await textOf(node, 'k'), 'v');
  });
}

for (const [what, sql] of [
  ['a trigger', 'CREATE TRIGGER t AFTER UPDATE ON position BEGIN DELETE FROM entries; END'],
  [
    'a view that never ends',
    `DROP VIEW whole_entries; CREATE VIEW whole_entries AS
     WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i FROM n)
     SELECT '' || i AS key, i AS version, NULL AS expires_at, NULL AS checksum, x'' AS value, 0 AS size FROM n WHERE i > 1`,
  ],
] as const) {
  test(`the keyspace file has ${what}: it is not run, whoever has put it there`, async (t) => {
    const cluster = await Cluster.create(t);
    const folder = await usedFolder(cluster);
    const { default: Database } = await import('better-sqlite3');
    const db = new Database(join(folder, 'keyspace-1.db'));
    db.exec(sql);
    db.close();
    await refuses(
      ['serve', '--port', '0', '--data', folder],
      /keyspace-1\.db is damaged: its schema has .*nothing was changed/,
    );
  });
}

test('a data folder without its keyspace file is refused', async (t) => {
  const cluster = await Cluster.create(t);
  const folder = await usedFolder(cluster);
  const { rm } = await import('node:fs/promises');
  await rm(join(folder, 'keyspace-1.db'));
  await refuses(['serve', '--port', '0', '--data', folder], /keyspace-1\.db is missing/);
});

test('a folder of a newer psyncd is left alone', async (t) => {
  const cluster = await Cluster.create(t);
  const folder = await usedFolder(cluster);
  const { default: Database } = await import('better-sqlite3');
  const db = new Database(join(folder, 'psyncd.db'));
  db.pragma('user_version = 99');
  db.close();
  await refuses(['serve', '--port', '0', '--data', folder], /was written by a newer psyncd \(schema 99/);
});

test('a node that is told to follow itself is refused', async (t) => {
  const cluster = await Cluster.create(t);
  const node = await cluster.start('node');
  await node.stop();
  const flags = ['serve', '--port', String(node.port), '--data', cluster.data('node'), '--replica-of'];
  await refuses([...flags, node.wsUrl], /is this node itself/);
  await refuses([...flags, `ws://localhost:${node.port}`], /is this node itself/);
  const folder = await temporaryFolder(t);
  const fresh = ['serve', '--port', String(node.port), '--data', join(folder, 'data'), '--replica-of'];
  await refuses([...fresh, node.wsUrl], /is this node itself/);
  const announced = ['--port', '0', '--data', join(folder, 'data'), '--announce-url', node.wsUrl];
  await refuses(['serve', ...announced, '--replica-of', node.wsUrl], /is this node itself/);
  assert.deepEqual(await readdir(folder), []);
});

test('wrong usage exits with 2', async () => {
  await refuses(
    ['serve', '--replica-of', 'http://127.0.0.1:1'],
    /--replica-of: expected a URL of the form ws:/,
    2,
  );
  await refuses(['serve', '--backlog-size', 'big'], /--backlog-size: expected a size/, 2);
  await refuses(['serve', '--host', '0.0.0.0'], /--allow-anonymous/, 2);
  assert.equal((await psyncd(['serve', '--no-such-flag'])).code, 2);
  assert.equal((await psyncd(['no-such-command'])).code, 2);
});

test('every command has its --help', async () => {
  const { stdout, code } = await psyncd(['--help']);
  assert.equal(code, 0);
  for (const name of ['serve', 'replicaof', 'info', 'get', 'set', 'del', 'import', 'demo']) {
    assert.match(stdout, new RegExp(`^ {2}${name}`, 'm'));
    const help = await psyncd([name, '--help']);
    assert.equal(help.code, 0);
    assert.match(help.stdout, new RegExp(`^Usage: psyncd ${name}`));
  }
});

test('an older Node is told which one is needed, before anything is loaded', async (t) => {
  const folder = await temporaryFolder(t);
  const pretend = join(folder, 'old.mjs');
  await writeFile(pretend, "Object.defineProperty(process.versions, 'node', { value: '20.20.2' });");
  const { code, lines, stdout } = await psyncd(['serve', '--port', '0'], ['--import', pretend]);
  assert.deepEqual(
    { code, lines, stdout },
    { code: 1, lines: ['psyncd needs Node.js 22.18 or newer; this is 20.20.2'], stdout: '' },
  );
});

test('what only some requests need is not loaded before the first answer', async (t) => {
  const cluster = await Cluster.create(t);
  const recorder = new URL('../support/loaded-modules.ts', import.meta.url).href;
  const node = await cluster.startWith({ NODE_OPTIONS: `--import ${recorder}` }, 'node');
  assert.equal(await node.client.get('k'), null);
  node.process.send('loaded?');
  const [loaded] = (await once(node.process, 'message')) as [string[]];
  assert.ok(loaded.some((path) => path.includes('/node_modules/fastify/')));
  // Node's fetch, the validator, what makes JSON functions, and the document.
  const unwanted =
    /\/undici\/|\/node_modules\/(?:ajv|yaml|@fastify\/swagger|@fastify\/static|@fastify\/fast-json-stringify-compiler)\//;
  assert.deepEqual(
    loaded.filter((path) => unwanted.test(path)),
    [],
  );
});

/** How the process runs that `psyncd serve` becomes: its command line, and the C library's variables. */
async function running(t: TestContext, options: string): Promise<{ words: string[]; variables: string[] }> {
  const folder = await temporaryFolder(t);
  const child = spawn(process.execPath, [MAIN, 'serve', '--port', '0', '--data', join(folder, 'data')], {
    stdio: ['ignore', 'pipe', 'ignore'],
    env: { ...process.env, NODE_OPTIONS: options },
  });
  t.after(() => child.kill('SIGKILL'));
  for await (const line of createInterface({ input: child.stdout })) if (line.includes('listening on')) break;
  const [words, variables] = await Promise.all(
    ['cmdline', 'environ'].map(async (name) =>
      (await readFile(`/proc/${child.pid}/${name}`, 'utf8')).split('\0'),
    ),
  );
  const exited = once(child, 'exit');
  child.kill('SIGTERM');
  assert.deepEqual(await exited, [0, null]);
  return { words: words ?? [], variables: (variables ?? []).filter((each) => each.startsWith('MALLOC_')) };
}

test('a node takes the memory settings that only a new process can be given, unless somebody has chosen others', {
  skip: process.platform !== 'linux' || process.execve === undefined,
}, async (t) => {
  const small = await running(t, '');
  assert.ok(small.words.includes('--max-semi-space-size=8'), small.words.join(' '));
  assert.ok(small.variables.length > 0);
  const chosen = await running(t, '--max-semi-space-size=16');
  assert.ok(!chosen.words.includes('--max-semi-space-size=8'), chosen.words.join(' '));
  assert.deepEqual(chosen.variables, []);
});
