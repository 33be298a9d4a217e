/** `psyncd backup`, `verify` and `restore` with object storage, and `backup list` and `prune`, as a user types them. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { copyFile, mkdir, readdir, readFile, rename, rm, utimes, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import test, { type TestContext } from 'node:test';
import { pathToFileURL } from 'node:url';
import { until } from '../../src/cli/until.ts';
import { scheduledName } from '../../src/node/upkeep/backup-names.ts';
import { offset } from '../../src/replication/position.ts';
import { ModelStream, TestArchive } from '../support/archives.ts';
import { BACKED_UP, failed, json, makeBackup, psyncd } from '../support/backups.ts';
import { Cluster, temporaryFolder, writeMany } from '../support/cluster.ts';
import { BUCKET, FakeS3, type Fault, type Seen } from '../support/fake-s3.ts';
import { MAIN } from '../support/main-file.ts';
import { seeded } from '../support/random.ts';

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;

/** The variables of a user of the bucket, whose temporary files are in a folder of the test. */
async function begun(t: TestContext): Promise<{ fake: FakeS3; env: Record<string, string>; folder: string }> {
  const fake = await FakeS3.start(t);
  const folder = await temporaryFolder(t);
  await mkdir(join(folder, 'tmp'));
  return { fake, env: { ...fake.env, TMPDIR: join(folder, 'tmp') }, folder };
}

test('a backup goes to a bucket, is listed and verified there, and restored from there', async (t) => {
  const { fake, env, folder } = await begun(t);
  const cluster = await Cluster.create(t);
  const node = await cluster.start('node');
  await writeMany(node, 'k', 30);
  const target = `s3://${BUCKET}/shop`;
  const { digest } = await node.client.digest();
  const made = json(await psyncd(['backup', target, '--node', node.url, '--json'], env));
  assert.equal(made.digest, digest);
  const file = String(made.file);
  assert.match(file, new RegExp(`^${target}/${made.runId}-${made.offset}-\\d{8}T\\d{6}Z\\.db$`));
  assert.deepEqual([...fake.objects.keys()], [file.slice(`s3://${BUCKET}/`.length)]);
  const list = json(await psyncd(['backup', 'list', target, '--json'], env));
  const [listed, ...more] = list.backups as Record<string, unknown>[];
  assert.deepEqual([more, list.windows], [[], []]);
  assert.deepEqual([listed?.runId, listed?.offset, listed?.bytes], [made.runId, made.offset, made.bytes]);
  assert.match(
    (await psyncd(['backup', 'list', target], env)).stdout,
    /^\d{4}-\S+ +\d+ {2}[0-9a-f]{40}-\d+-\w+\.db\n$/,
  );
  assert.equal(json(await psyncd(['verify', file, '--json'], env)).digest, digest);
  json(await psyncd(['restore', file, join(folder, 'restored'), '--json'], env));
  const { stdout } = await psyncd(['verify', join(folder, 'restored'), '--json']);
  assert.equal(JSON.parse(stdout).digest, digest);
  assert.deepEqual((await readdir(folder)).sort(), ['restored', 'tmp']);
  assert.deepEqual(await readdir(join(folder, 'tmp')), []);
});

test('failures of a bucket are one line with a code, and leave nothing', async (t) => {
  const { fake, env, folder } = await begun(t);
  const backup = join(folder, 'b.db');
  await makeBackup(backup);
  const bytes = await readFile(backup);
  const name = 'shop/b.db';
  fake.store(
    name,
    Buffer.concat([bytes.subarray(0, 9_000), Buffer.from([~(bytes[9_000] ?? 0)]), bytes.subarray(9_001)]),
  );
  const url = `s3://${BUCKET}/${name}`;
  failed(await psyncd(['verify', url], env), 1, new RegExp(`^psyncd: ${url} is damaged`));
  failed(await psyncd(['verify', `s3://${BUCKET}/shop/none.db`], env), 2, /status 404: NoSuchKey/);
  const to = join(folder, 'restored');
  failed(await psyncd(['restore', url, to], env), 1, /is damaged/);
  failed(await psyncd(['restore', `s3://${BUCKET}/none.db`, to], env), 3, /\(NOT_FOUND\)/);
  const wrong = { ...env, AWS_SECRET_ACCESS_KEY: 'wrong' };
  failed(
    await psyncd(['backup', 'list', `s3://${BUCKET}`], wrong),
    1,
    /SignatureDoesNotMatch.*\(NO_ACCESS\)/,
  );
  failed(await psyncd(['backup', 'list', 's3://no-such'], env), 1, /\(NO_SUCH_BUCKET\)/);
  fake.skewMs = DAY_MS;
  failed(await psyncd(['backup', 'list', `s3://${BUCKET}`], env), 1, /RequestTimeTooSkewed.*\(CLOCK_SKEW\)/);
  failed(await psyncd(['verify', `s3://${BUCKET}`], env), 2, /names no backup/);
  fake.skewMs = 0;
  const noRoom = { ...env, TMPDIR: join(folder, 'none') };
  failed(await psyncd(['verify', url], noRoom), 2, /cannot write into .*none: ENOENT/);
  failed(await psyncd(['restore', url, '/proc/psyncd'], env), 1, /cannot write into \/proc: /);
  const args = ['backup', `s3://${BUCKET}`, '--data', folder];
  failed(await psyncd(args, noRoom), 1, /cannot write into .*none: ENOENT/);
  assert.deepEqual((await readdir(folder)).sort(), ['b.db', 'tmp']);
  assert.deepEqual(await readdir(join(folder, 'tmp')), []);
});

test('verify --newest checks the backup of a target that was made last', async (t) => {
  const { fake, env, folder } = await begun(t);
  const targets = [`s3://${BUCKET}/shop`, join(folder, 'shop')];
  failed(await psyncd(['verify', `s3://${BUCKET}/shop`, '--newest'], env), 2, /there is no backup in s3:/);
  const backup = join(folder, 'b.db');
  await makeBackup(backup);
  const bytes = await readFile(backup);
  const nameOf = (time: string): string => `${BACKED_UP.runId}/${BACKED_UP.offset}-${time}.db`;
  const put = async (time: string, content: Buffer): Promise<void> => {
    fake.store(`shop/${nameOf(time)}`, content);
    await mkdir(join(folder, 'shop', BACKED_UP.runId), { recursive: true });
    await writeFile(join(folder, 'shop', nameOf(time)), content);
  };
  await put('20261128T050000Z', bytes.subarray(0, 8_192));
  await put('20261129T050000Z', bytes);
  for (const target of targets) {
    const { stdout } = await psyncd(['verify', target, '--newest'], env);
    assert.match(stdout, /^whole: 300 entries at .*20261129T050000Z\.db\n$/);
  }
  failed(await psyncd(['verify', targets[1] ?? '']), 2, /for a target of backups, add --newest/);
  await put('20261129T060000Z', bytes.subarray(0, 8_192));
  for (const target of targets) {
    const outcome = await psyncd(['verify', target, '--newest'], env);
    failed(outcome, 1, /20261129T060000Z\.db is damaged: a part of it is missing/);
  }
});

test('a download for which the disk has no room, or that is longer than was said, is refused before it begins', async (t) => {
  const { fake, env, folder } = await begun(t);
  const backup = join(folder, 'b.db');
  await makeBackup(backup);
  const bytes = await readFile(backup);
  const key = `shop/${BACKED_UP.runId}/${BACKED_UP.offset}-20261129T050000Z.db`;
  const segment = `shop/${BACKED_UP.runId}/${BACKED_UP.offset + 1}-${BACKED_UP.offset + 9}.resp.zst`;
  fake.store(key, bytes);
  /** The target gives an object of this name as one of so many bytes. */
  const claims = (suffix: string, length: number, seen: Seen): Fault | null =>
    seen.key.endsWith(suffix) && seen.headers.range === undefined
      ? { status: 200, headers: { etag: '"x"', 'content-length': String(length) }, text: 'x' }
      : null;
  const single = `s3://${BUCKET}/${key}`;
  const restore = ['restore', `s3://${BUCKET}`, join(folder, 'new'), '--to-position'];
  fake.fault = (seen) => claims('.db', bytes.length + 1, seen);
  const tooLong = /: \S+ has \d+ bytes, and should have \d+ at most/;
  failed(await psyncd(['restore', single, join(folder, 'new')], env), 1, tooLong);
  failed(await psyncd(['verify', single], env), 2, tooLong);
  failed(await psyncd([...restore, `${BACKED_UP.runId}:${BACKED_UP.offset}`], env), 1, tooLong);
  fake.store(segment, bytes);
  fake.fault = (seen) => claims('.zst', bytes.length + 1, seen);
  failed(await psyncd([...restore, `${BACKED_UP.runId}:${BACKED_UP.offset + 9}`], env), 1, tooLong);
  // What does not begin as a backup does not say how long it is.
  fake.store(key, Buffer.from('no backup'));
  fake.fault = (seen) => claims('.db', 1e14, seen);
  failed(
    await psyncd(['restore', single, join(folder, 'new')], env),
    1,
    /no room in .* for 100000000000000 bytes: \d+ are free, and 67108864 have to stay free/,
  );
  assert.deepEqual((await readdir(folder)).sort(), ['b.db', 'tmp']);
  assert.deepEqual(await readdir(join(folder, 'tmp')), []);
});

test('an interrupted upload leaves neither parts in the bucket nor files here', async (t) => {
  const { fake, env, folder } = await begun(t);
  const cluster = await Cluster.create(t);
  const node = await cluster.start('node');
  await writeMany(node, 'k', 10, 'x'.repeat(1_000_000));
  fake.fault = ({ query }) => (query.has('partNumber') ? 'silent' : null);
  const child = spawn(process.execPath, [MAIN, 'backup', `s3://${BUCKET}`, '--node', node.url], {
    env: { ...process.env, ...env },
    stdio: 'ignore',
  });
  const ended = once(child, 'exit');
  await until('a part is on its way', () => fake.seen.some(({ query }) => query.has('partNumber')));
  child.kill('SIGINT');
  assert.deepEqual(await ended, [130, null]);
  assert.deepEqual([fake.uploads.size, fake.objects.size], [0, 0]);
  assert.deepEqual(await readdir(join(folder, 'tmp')), []);
});

test('files are known by their URLs too', async (t) => {
  const folder = await temporaryFolder(t);
  const path = join(folder, 'b.db');
  await makeBackup(path);
  const url = pathToFileURL(path).href;
  assert.match((await psyncd(['verify', url])).stdout, /^whole: 300 entries/);
  json(await psyncd(['restore', url, join(folder, 'restored'), '--json']));
  assert.ok(existsSync(join(folder, 'restored', 'psyncd.db')));
});

test('prune deletes old backups only, and says before what it would delete', async (t) => {
  const folder = await temporaryFolder(t);
  const now = Date.now();
  const nameOf = (days: number): string => scheduledName('shop', BACKED_UP, now - days * DAY_MS);
  const [young, old, older, foreign] = [nameOf(1), nameOf(40), nameOf(50), nameOf(60)] as const;
  await mkdir(dirname(join(folder, young)), { recursive: true });
  for (const name of [young, old, older]) await makeBackup(join(folder, name));
  // A user's own file may have any name.
  await writeFile(
    join(folder, foreign),
    'not a backup of psyncd, but a letter that is long enough to be looked into'.repeat(3),
  );
  await writeFile(join(folder, 'letter.txt'), 'Dear');
  const part = join(dirname(join(folder, young)), '.psyncd-partial-00');
  await writeFile(part, 'half');
  await utimes(part, 1, 1);
  const args = ['backup', 'prune', folder, '--keep', '24h=1h,30d=1d'];
  const dry = await psyncd([...args, '--dry-run']);
  assert.equal(
    dry.stdout,
    `would delete ${older}\nwould delete ${old}\n${foreign} is no backup of psyncd and stays\nwould delete 2, kept 1\n`,
  );
  assert.ok(existsSync(join(folder, older)) && existsSync(part));
  const done = json(await psyncd([...args, '--json']));
  assert.deepEqual(done, { dryRun: false, deleted: [older, old], foreign: [foreign], kept: 1, segments: 0 });
  assert.deepEqual(
    (await readdir(dirname(join(folder, young)))).map((name) => join('shop', BACKED_UP.runId, name)).sort(),
    [foreign, young].sort(),
  );
  assert.ok(existsSync(join(folder, 'letter.txt')));
});

test('prune deletes nothing if the newest backup seems to be days old, but with --force', async (t) => {
  const folder = await temporaryFolder(t);
  const now = Date.now();
  const names = [3, 40].map((days) => scheduledName('shop', BACKED_UP, now - days * DAY_MS));
  await mkdir(dirname(join(folder, String(names[0]))), { recursive: true });
  for (const name of names) {
    await makeBackup(join(folder, name));
    await utimes(join(folder, name), now / 1_000, (now - 3 * DAY_MS) / 1_000);
  }
  const args = ['backup', 'prune', folder, '--keep', '30d=1d', '--json'];
  assert.deepEqual(json(await psyncd([...args, '--dry-run'])).deleted, [names[1]]);
  failed(await psyncd(args), 1, /the newest backup in .* is of .*: if the clock is right, use --force/);
  assert.ok(existsSync(join(folder, String(names[1]))));
  assert.deepEqual(json(await psyncd([...args, '--force'])).deleted, [names[1]]);
});

test('prune deletes nothing by rules that are short, if the newest backup seems to be older than half of them', async (t) => {
  const folder = await temporaryFolder(t);
  const now = Date.now();
  const ages = [20, 40, 60];
  const names = ages.map((hours) => scheduledName('shop', BACKED_UP, now - hours * HOUR_MS));
  await mkdir(dirname(join(folder, String(names[0]))), { recursive: true });
  for (const [index, name] of names.entries()) {
    await makeBackup(join(folder, name));
    await utimes(join(folder, name), 1, (now - Number(ages[index]) * HOUR_MS) / 1_000);
  }
  const args = ['backup', 'prune', folder, '--json', '--keep'];
  failed(await psyncd([...args, '24h=1h']), 1, /if the clock is right, use --force/);
  assert.deepEqual(json(await psyncd([...args, '48h=1h'])).deleted, [names[2]]);
});

test('prune deletes nothing if the clock is a year ahead, also if a backup was made since', async (t) => {
  const folder = await temporaryFolder(t);
  const now = Date.now();
  const file = join(folder, 'backup');
  await makeBackup(file);
  const minutes = [10, ...Array.from({ length: 20 }, (_, index) => (365 + index) * 24 * 60)];
  const names = minutes.map((each) => scheduledName('shop', BACKED_UP, now - each * 60_000));
  await mkdir(dirname(join(folder, String(names[0]))), { recursive: true });
  for (const [index, name] of names.entries()) {
    await copyFile(file, join(folder, name));
    await utimes(join(folder, name), 1, (now - Number(minutes[index]) * 60_000) / 1_000);
  }
  await rm(file);
  const args = ['backup', 'prune', folder, '--keep', '24h=1h,30d=1d', '--json'];
  failed(
    await psyncd(args),
    1,
    /after a time without backups that ended .*: if the clock is right, use --force/,
  );
  for (const name of names) assert.ok(existsSync(join(folder, name)));
  assert.equal((json(await psyncd([...args, '--force'])).deleted as string[]).length, 20);
});

test('prune deletes segments that nothing needs any more, and what is left can be restored', async (t) => {
  const folder = await temporaryFolder(t);
  const { random, seed } = seeded();
  t.diagnostic(`seed ${seed}`);
  const now = Date.now();
  // The writes are older than the backups after them.
  const stream = new ModelStream(random, now - 5 * DAY_MS);
  const archive = new TestArchive(folder, stream);
  const begin = stream.last.at;
  stream.grow(10);
  const middle = stream.last.at;
  const segments = await archive.segments(BACKED_UP.runId, begin, () => 1);
  stream.grow(10);
  const end = stream.last.at;
  await archive.segments(BACKED_UP.runId, middle, random);
  const baseOf = async (at: number, days: number): Promise<string> => {
    const position = { ...BACKED_UP, offset: offset(at) };
    const name = scheduledName('shop', position, now - days * DAY_MS);
    await rename(join(folder, await archive.base(at)), join(folder, name));
    return name;
  };
  const old = [await baseOf(begin, 4), await baseOf(middle, 3), ...segments];
  await baseOf(end, 0);
  for (const name of old) await utimes(join(folder, name), 1, (now - 3 * DAY_MS) / 1_000);
  // The clock is right, though the last backups are of today and of three days before.
  const args = ['backup', 'prune', folder, '--keep', '24h=24h', '--force', '--json'];
  const dry = json(await psyncd([...args, '--dry-run']));
  const done = json(await psyncd(args));
  assert.deepEqual([done.segments, done.deleted], [segments.length - 1, [old[0]]]);
  assert.deepEqual(dry, { ...done, dryRun: true });
  for (const at of [middle, end]) {
    const to = join(await temporaryFolder(t), 'restored');
    json(await psyncd(['restore', folder, to, '--to-position', `${BACKED_UP.runId}:${at}`, '--json']));
  }
});

test('list shows from where to where an archive can be restored, with its gaps', async (t) => {
  const folder = await temporaryFolder(t);
  const { random, seed } = seeded();
  t.diagnostic(`seed ${seed}`);
  const stream = new ModelStream(random);
  const archive = new TestArchive(folder, stream);
  const bases: (typeof stream.last)[] = [];
  const ends: (typeof stream.last)[] = [];
  for (let part = 0; part < 2; part += 1) {
    bases.push(stream.last);
    await archive.base(stream.last.at);
    const { at } = stream.last;
    stream.grow(5);
    await archive.segments(BACKED_UP.runId, at, random);
    ends.push(stream.last);
    stream.grow(1);
  }
  const { windows } = json(await psyncd(['backup', 'list', folder, '--json']));
  const shown = (at: number, time: number) => ({
    position: `${BACKED_UP.runId}:${at}`,
    time: new Date(time).toISOString(),
  });
  // The name of a base has whole seconds.
  const endOfSecond = (ms: number): number => Math.floor(ms / 1_000) * 1_000 + 999;
  assert.deepEqual(
    windows,
    bases.map((base, index) => {
      const end = ends[index] ?? base;
      // Whether more came in the last millisecond before a gap, nobody knows.
      const last = index === 0 ? end.ms - 1 : end.ms;
      return { cluster: 'shop', from: shown(base.at, endOfSecond(base.ms)), to: shown(end.at, last) };
    }),
  );
  const { stdout } = await psyncd(['backup', 'list', folder]);
  assert.equal(
    stdout.match(/Z to 20\S+Z can be restored: a{40}:\d+ to a{40}:\d+ {2}shop\n/g)?.length,
    2,
    stdout,
  );
  const last = (await readdir(join(folder, 'shop', BACKED_UP.runId))).filter((name) => name.endsWith('.zst'));
  for (const name of last) await writeFile(join(folder, 'shop', BACKED_UP.runId, name), 'damaged');
  const damaged = await psyncd(['backup', 'list', folder, '--json']);
  assert.match(damaged.stderr, /^psyncd: what an archive gives back: .* is damaged/);
  assert.deepEqual([damaged.code, JSON.parse(damaged.stdout).windows], [0, null]);
});

test('prune removes what killed uploads of backups and of an archive have left', async (t) => {
  const { fake, env } = await begun(t);
  const begunAt = new Date(Date.now() - 3 * DAY_MS);
  const { runId } = BACKED_UP;
  const names = [
    scheduledName('shop', BACKED_UP, 0),
    `shop/${runId}/1-9000.resp.zst`,
    `shop/${runId}/letter`,
  ];
  for (const key of names) fake.uploads.set(key, { key, begun: begunAt, parts: new Map() });
  json(await psyncd(['backup', 'prune', `s3://${BUCKET}`, '--keep', '1h=1h', '--json'], env));
  assert.deepEqual([...fake.uploads.keys()], names.slice(2));
});

test('prune needs rules that say something', async (t) => {
  const folder = await temporaryFolder(t);
  for (const keep of ['', '24h', '1h=24h', '24h=1h=1m', 'x=y', '24h=0', Array(17).fill('24h=1h').join()]) {
    failed(
      await psyncd(['backup', 'prune', folder, '--keep', keep]),
      2,
      /^psyncd: --keep: .*expected.*, got "/,
    );
  }
  failed(
    await psyncd(['backup', 'prune', join(folder, 'none'), '--keep', '24h=1h']),
    1,
    /\(NO_SUCH_BUCKET\)/,
  );
});
