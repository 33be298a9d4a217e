/** `psyncd follow` and `psyncd export`, as a user types them. */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import test, { type TestContext } from 'node:test';
import { createToken } from '../../src/access/tokens/tokens.ts';
import { until } from '../../src/cli/until.ts';
import { Cluster, temporaryFolder } from '../support/cluster.ts';
import { FeedModel } from '../support/feed-model.ts';
import { MAIN } from '../support/main-file.ts';
import { scriptedFeed } from '../support/scripted-feed.ts';

class Command {
  readonly child: ChildProcess;
  readonly #exited: Promise<unknown[]>;
  stdout = '';
  stderr = '';

  constructor(t: TestContext, ...args: readonly string[]) {
    this.child = spawn(process.execPath, [MAIN, ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
    this.#exited = once(this.child, 'close');
    t.after(() => this.child.kill('SIGKILL'));
    this.child.stdout?.on('data', (chunk: Buffer) => {
      this.stdout += chunk.toString();
    });
    this.child.stderr?.on('data', (chunk: Buffer) => {
      this.stderr += chunk.toString();
    });
  }

  get lines(): string[] {
    return this.stdout.split('\n').slice(0, -1);
  }

  shows(text: string): Promise<unknown> {
    return until(`it shows ${text}`, () => this.stdout.includes(text));
  }

  async exitCode(): Promise<unknown> {
    const [code] = await this.#exited;
    return code;
  }

  interrupted(): Promise<unknown> {
    this.child.kill('SIGINT');
    return this.exitCode();
  }
}

function history(): FeedModel {
  const model = new FeedModel();
  for (const key of ['a', 'b', 'c']) model.set(key, `value of ${key}`);
  return model;
}

/** What standard error says in the end: what to add to the same command, and nothing of how it was started. */
function stoppedAt(position: string, instead = ''): string {
  return `psyncd: stopped; the same again goes on from here with --position ${position}${instead}\n`;
}

test('--json: each event as it was sent; Ctrl-C tells how to go on, and that is right', async (t) => {
  const model = history();
  const feed = await scriptedFeed(t, (_index, query) => model.from(query.get('position') ?? undefined));
  const prefixes = ["it's", 'a', 'b', 'c'].flatMap((prefix) => ['--prefix', prefix]);
  const first = new Command(t, 'follow', '--json', ...prefixes, '--node', feed.url);
  await first.shows('synced');
  const change = model.set('b', 'new');
  feed.send(change);
  await first.shows('new');
  assert.equal(await first.interrupted(), 0);
  const sent = [...history().from(undefined), change];
  assert.deepEqual(
    first.lines,
    sent.map((event) => JSON.stringify(event)),
  );
  assert.equal(first.stderr, stoppedAt(model.position));

  const missed = model.set('c', 'missed');
  const second = new Command(t, 'follow', '--json', '--position', change.position, '--node', feed.url);
  await second.shows('missed');
  assert.equal(await second.interrupted(), 0);
  assert.equal(missed.position, model.position);
  assert.deepEqual(
    second.lines,
    model.from(change.position).map((event) => JSON.stringify(event)),
  );
  assert.deepEqual(feed.requests.map(String), [
    'prefix=it%27s&prefix=a&prefix=b&prefix=c',
    `position=${encodeURIComponent(change.position)}`,
  ]);
});

test('a cut is reported once, with the note that nothing is lost', async (t) => {
  const model = history();
  const feed = await scriptedFeed(t, (index, query) => {
    const said = model.from(query.get('position') ?? undefined);
    if (index === 0) return [...said, 'CUT'];
    return index < 3 ? ['CUT'] : said;
  });
  const command = new Command(t, 'follow', '--node', feed.url);
  await command.shows('continue');
  assert.equal(await command.interrupted(), 0);
  assert.deepEqual(command.lines, [
    'reset\ta snapshot follows: first-sync, 3 entries',
    ...['a', 'b', 'c'].map((key) => `entry\t${key}\tvalue of ${key}`),
    `synced\tthat was the snapshot\t${model.position}`,
    `continue\tnothing is lost\t${model.position}`,
  ]);
  assert.deepEqual(command.stderr.split('\n').slice(0, 2), [
    `psyncd: ${feed.url}: the connection broke; connecting again`,
    'psyncd: connected again, nothing is lost',
  ]);
});

test('stopped in the middle of a snapshot, it goes on from before it', async (t) => {
  const model = history();
  const [start, reset] = [`${'a'.repeat(40)}:0`, model.snapshot('behind-backlog')];
  const feed = await scriptedFeed(t, () => [{ type: 'continue', position: start }, ...reset.slice(0, 2)]);
  const command = new Command(t, 'follow', '--position', start, '--node', feed.url);
  await command.shows('entry');
  assert.equal(await command.interrupted(), 0);
  assert.equal(command.stderr, stoppedAt(start));
});

test('another node takes over', async (t) => {
  const model = history();
  const [one, other] = await Promise.all([
    scriptedFeed(t, () => [...model.from(undefined), 1001]),
    scriptedFeed(t, (_index, query) => model.from(query.get('position') ?? undefined)),
  ]);
  const command = new Command(t, 'follow', '--node', one.url, '--node', other.url);
  await command.shows('continue');
  assert.equal(await command.interrupted(), 0);
  assert.equal(other.requests[0]?.get('position'), model.position);
});

test('follow exits with 141, as the documents say, when nobody reads its output any more', async (t) => {
  const model = history();
  const feed = await scriptedFeed(t, () => model.from(undefined));
  const command = new Command(t, 'follow', '--json', '--node', feed.url);
  await command.shows('synced');
  command.child.stdout?.destroy();
  const more = setInterval(() => feed.send(model.set('a', 'more')), 5);
  t.after(() => clearInterval(more));
  assert.equal(await command.exitCode(), 141);
  assert.match(command.stderr, /^psyncd: stopped; /);
});

test('a failure to follow prints one line and exits with 1, wrong usage exits with 2', async (t) => {
  const lost = { type: 'error', code: 'POSITION_LOST', detail: 'it is gone (behind-backlog)' };
  const feed = await scriptedFeed(t, () => [lost, 4409]);
  const position = `${'a'.repeat(40)}:5`;
  const cases: readonly (readonly [number, RegExp, ...(readonly string[])])[] = [
    [
      1,
      /^psyncd: it is gone \(behind-backlog\) \(POSITION_LOST\)\n$/,
      '--position',
      position,
      '--no-snapshot',
    ],
    [2, /^psyncd: --no-snapshot needs --position or --from-time\n$/, '--no-snapshot'],
    [
      2,
      /^psyncd: --position: expected <run ID>:<offset>, or now, got "yesterday"\n$/,
      '--position',
      'yesterday',
    ],
    [
      2,
      /^psyncd: --node: expected http:\/\/HOST:PORT or https:\/\/HOST:PORT, got "nowhere"\n$/,
      '--node',
      'nowhere',
    ],
  ];
  for (const [code, line, ...flags] of cases) {
    const command = new Command(t, 'follow', '--node', feed.url, ...flags);
    assert.equal(await command.exitCode(), code);
    assert.match(command.stderr, line);
    assert.equal(command.stdout, '');
  }
});

test('a node that wants a token is reported at once, with the options that show one', async (t) => {
  const cluster = await Cluster.create(t);
  const wanted = { name: 'test', rights: ['read'], prefixes: null, expiresAt: null } as const;
  await createToken(join(cluster.data('node'), 'tokens.json'), wanted, Date.now());
  const node = await cluster.start('node');
  const command = new Command(t, 'follow', '--node', node.url);
  assert.equal(await command.exitCode(), 1);
  assert.match(
    command.stderr,
    /^psyncd: a token is needed: .*; --token-file FILE or PSYNCD_TOKEN shows one \(UNAUTHORIZED\)\n$/,
  );
});

test('a node that cannot be reached is reported at once', async (t) => {
  const node = await (await Cluster.create(t)).start('node');
  await node.stop();
  const command = new Command(t, 'follow', '--node', node.url);
  assert.equal(await command.exitCode(), 1);
  assert.match(command.stderr, /^psyncd: cannot reach the node: .*ECONNREFUSED.*--node names another\n$/);
});

test('--from-time begins with the changes since a time, and says so if the node does not have them', async (t) => {
  const cluster = await Cluster.create(t);
  const node = await cluster.start('node', '--backlog-size', '16kb', '--apply-interval', '10ms');
  await node.client.set('user:1', 'Ada');
  await node.client.set('other', 'x');
  const early = ['--from-time', '2026-01-01T05:00:00Z', '--node', node.url];
  const command = new Command(t, 'follow', '--json', '--prefix', 'user:', ...early);
  await command.shows('Ada');
  await node.client.set('user:2', 'Grace');
  await command.shows('Grace');
  assert.equal(await command.interrupted(), 0);
  const [first, ...events] = command.lines.map((line) => JSON.parse(line) as Record<string, unknown>);
  assert.deepEqual([first?.type, first?.position], ['continue', `${node.ready.runId}:0`]);
  const keys = events.flatMap(({ type, key }) => (type === 'set' ? [key] : []));
  assert.deepEqual(keys, ['user:1', 'user:2']);
  const { position } = await node.client.replication();
  assert.equal(command.stderr, stoppedAt(position, ' in place of --from-time'));

  for (let count = 0; count < 40; count += 1) await node.client.set('fill', 'x'.repeat(1_000));
  const lost = new Command(t, 'follow', ...early);
  assert.equal(await lost.exitCode(), 1);
  assert.match(
    lost.stderr,
    /^psyncd: this node has not all changes since 2026-01-01T05:00:00\.000Z any more.*POSITION_LOST.*\n$/,
  );
  for (const wrong of [
    ['--from-time', 'yesterday'],
    ['--from-time', '2026-01-01T05:00:00Z', '--position', 'now'],
  ]) {
    const command = new Command(t, 'follow', '--node', node.url, ...wrong);
    assert.equal(await command.exitCode(), 2, command.stderr);
  }
});

test('a real node: what is written is shown', async (t) => {
  const node = await (await Cluster.create(t)).start('node');
  await node.client.set('user:1', 'Ada');
  const command = new Command(t, 'follow', '--prefix', 'user:', '--node', node.url);
  await command.shows('synced');
  await node.client.set('other', 'x');
  await node.client.set('user:2', new Uint8Array([255]));
  await node.client.delete('user:1');
  await command.shows('delete');
  assert.equal(await command.interrupted(), 0);
  const { position } = await node.client.replication();
  const kinds = command.lines.map((line) => line.split('\t').slice(0, 3).join(' '));
  assert.deepEqual(kinds.slice(1, 2).concat(kinds.slice(3)), [
    'entry user:1 Ada',
    'set user:2 0xff (1 byte)',
    `delete user:1 ${position.split(':')[1]}`,
  ]);
  assert.equal(command.stderr, stoppedAt(position));
});

test('export: to a file, to standard output, of a prefix; import takes it', async (t) => {
  const cluster = await Cluster.create(t);
  const [from, to] = [await cluster.start('from'), await cluster.start('to')];
  await from.client.set('a/1', 'ü');
  await from.client.set('a/2', new Uint8Array([0, 255]));
  await from.client.set('b', 'other');
  const folder = await temporaryFolder(t);
  const file = join(folder, 'entries.ndjson');
  const { position } = await from.client.replication();
  const all = new Command(t, 'export', file, '--node', from.url);
  assert.deepEqual([await all.exitCode(), all.stdout], [0, `3 entries exported, at ${position}\n`]);
  const part = new Command(t, 'export', '--prefix', 'a/', '--node', from.url);
  assert.deepEqual([await part.exitCode(), part.stderr], [0, `2 entries exported, at ${position}\n`]);
  assert.deepEqual(part.lines, (await readFile(file, 'utf8')).split('\n').slice(0, 2));
  assert.deepEqual(await readdir(folder), ['entries.ndjson']);
  const single = new Command(t, 'export', '--prefix', 'a/1', '--node', from.url);
  assert.deepEqual([await single.exitCode(), single.stderr], [0, `1 entry exported, at ${position}\n`]);
  const mixed = new Command(t, 'export', '--json', '--node', from.url);
  assert.deepEqual([await mixed.exitCode(), mixed.stdout], [2, '']);
  assert.match(mixed.stderr, /^psyncd: --json is about an export into a file; /);
  const back = new Command(t, 'import', file, '--node', to.url);
  assert.equal(await back.exitCode(), 0);
  const [one, other] = await Promise.all([from.client.digest(), to.client.digest()]);
  assert.equal(one.digest, other.digest);
  const nowhere = new Command(t, 'export', join(folder, 'no', 'such'), '--node', from.url);
  assert.equal(await nowhere.exitCode(), 1);
  assert.match(nowhere.stderr, /^psyncd: cannot write .*ENOENT.*\n$/);
});

test('an export that a signal ends leaves the file as it was, and nothing beside it', async (t) => {
  const server = createServer((_request, response) => {
    const headers = { 'content-type': 'application/x-ndjson', 'psync-position': `${'a'.repeat(40)}:7` };
    // The rest never comes.
    response.writeHead(200, headers).write('{"key":"k","value":"v"}\n');
  });
  await once(server.listen(0, '127.0.0.1'), 'listening');
  t.after(() => {
    server.close();
    server.closeAllConnections();
  });
  const node = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const folder = await temporaryFolder(t);
  const file = join(folder, 'entries.ndjson');
  await writeFile(file, 'old');
  for (const [signal, code] of [
    ['SIGHUP', 129],
    ['SIGINT', 130],
    ['SIGTERM', 143],
  ] as const) {
    const command = new Command(t, 'export', file, '--node', node);
    await until('it writes', async () => (await readdir(folder)).length === 2);
    command.child.kill(signal);
    assert.equal(await command.exitCode(), code);
    assert.equal(command.stderr, `psyncd: interrupted; ${file} is as it was\n`);
    assert.deepEqual([await readdir(folder), await readFile(file, 'utf8')], [['entries.ndjson'], 'old']);
  }
});
