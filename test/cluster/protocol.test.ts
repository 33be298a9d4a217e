/** docs/protocol.md says what is so: its transcripts are played with a real node. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import test, { type TestContext } from 'node:test';
import { crc32 } from 'node:zlib';
import { WebSocket } from 'ws';
import type { ChildNode } from '../../src/cli/child-node.ts';
import { until } from '../../src/cli/until.ts';
import { FULL_RESYNC_REASONS } from '../../src/replication/decide.ts';
import { array } from '../../src/stream/encoder.ts';
import { Cluster } from '../support/cluster.ts';
import { Names, type Step, type Transcript, transcripts } from '../support/transcript.ts';

const MARKDOWN = readFileSync(new URL('../../docs/protocol.md', import.meta.url), 'utf8');
const REPLICATION = readFileSync(new URL('../../docs/replication.md', import.meta.url), 'utf8');
const ALL = transcripts(MARKDOWN);

/** One connection of the client that the transcript plays. */
interface Client {
  say(text: string): void;
  /** Takes the next thing that was said, and holds it against the step. */
  hear(step: Step, names: Names): Promise<void>;
  whenClosed(): Promise<number>;
  cut(): void;
}

async function connect(t: TestContext, node: ChildNode, path: string, subprotocol: string): Promise<Client> {
  const socket = new WebSocket(`${node.wsUrl}${path}`, subprotocol);
  t.after(() => socket.terminate());
  const received: Buffer[] = [];
  let closeCode: number | null = null;
  socket.on('error', () => undefined);
  socket.on('message', (data: Buffer, isBinary) => {
    assert.equal(isBinary, subprotocol === 'psync.v1');
    received.push(data);
  });
  socket.on('close', (code) => {
    closeCode = code;
  });
  await once(socket, 'open');
  const rest = {
    whenClosed: () => until('the connection is closed', () => closeCode),
    cut: () => socket.terminate(),
  };
  if (subprotocol === 'psync.v1') {
    return {
      ...rest,
      say: (text) => socket.send(Buffer.from(array(text.split(' ')))),
      hear: (step, names) => hearStream(received, step, names),
    };
  }
  return {
    ...rest,
    say: (text) => socket.send(text),
    hear: (step, names) => hearEvent(received, step, names),
  };
}

/** `[LENGTH bytes]`, `[N bytes, CRC-32 {SUM}]` or `[LENGTH-N bytes]`. */
const SNAPSHOT = /^\[(\w+)(?:-(\d+))? bytes(?:, CRC-32 \{(\w+)\})?\]$/;

async function hearStream(received: Buffer[], { text, line }: Step, names: Names): Promise<void> {
  const [isSnapshot, length = '', had, sum] = SNAPSHOT.exec(text) ?? [];
  if (isSnapshot !== undefined) {
    const bytes = Number(names.value(length) ?? length) - Number(had ?? 0);
    const snapshot = await take(received, bytes, line);
    if (had === undefined) assert.equal(snapshot.toString('latin1', 0, 16), 'SQLite format 3\0');
    if (sum !== undefined) names.check(`{${sum}}`, crc32(snapshot).toString(16).padStart(8, '0'), line);
    return;
  }
  if (!/^[+$-]/.test(text)) {
    const command = array(names.filled(text).split(' '));
    assert.equal((await take(received, Buffer.byteLength(command), line)).toString(), command);
    return;
  }
  const end = await until(`line ${line}: ${text}`, () => {
    const at = Buffer.concat(received).indexOf('\r\n');
    return at === -1 ? null : at + 2;
  });
  const said = await take(received, end, line);
  names.check(text, said.toString('latin1', 0, end - 2), line);
}

async function take(received: Buffer[], bytes: number, line: number): Promise<Buffer> {
  const all = await until(`line ${line}: ${bytes} bytes`, () => {
    const joined = Buffer.concat(received);
    return joined.length >= bytes ? joined : null;
  });
  received.splice(0, received.length, all.subarray(bytes));
  return all.subarray(0, bytes);
}

async function hearEvent(received: Buffer[], { text, line }: Step, names: Names): Promise<void> {
  for (;;) {
    const said = (await until(`line ${line}: ${text}`, () => received.shift())).toString();
    const { type } = JSON.parse(said);
    if ((type !== 'bookmark' && type !== 'waiting') || text.includes(`"type":"${type}"`)) {
      names.check(text, said, line);
      return;
    }
  }
}

async function play(t: TestContext, { steps }: Transcript): Promise<void> {
  const node = await (await Cluster.create(t)).start('node');
  const names = new Names();
  let client: Client | null = null;
  for (const step of steps) {
    if (step.kind === 'node') {
      const { method, path, body } = step;
      const type = body?.startsWith('{') ? 'application/json' : 'application/octet-stream';
      const headers = body === null ? {} : { 'content-type': type };
      const bytes = /^\[(\d+) bytes\]$/.exec(body ?? '')?.[1];
      const sent = bytes === undefined ? body : randomBytes(Number(bytes));
      const response = await fetch(`${node.url}${path}`, { method, headers, body: sent });
      const answer = await response.text();
      assert.ok(response.ok, `line ${step.line}: ${response.status} ${answer}`);
    } else if (step.kind === 'connect') {
      client?.cut();
      client = await connect(t, node, names.filled(step.path), step.subprotocol);
    } else {
      assert.ok(client !== null, `line ${step.line}: there is no connection`);
      if (step.kind === 'client') client.say(names.filled(step.text));
      else if (step.kind === 'server') await client.hear(step, names);
      else if (step.kind === 'closed')
        assert.equal(await client.whenClosed(), step.code, `line ${step.line}`);
    }
  }
}

for (const transcript of ALL) {
  test(`${transcript.subprotocol}: ${transcript.title}`, (t) => play(t, transcript));
}

/** The answer of a long poll that does not wait, as text. */
async function polled(node: ChildNode, query: string, accept: string): Promise<Response> {
  return fetch(`${node.url}/v1/changes?wait=0&${query}`, { headers: { accept } });
}

test('without WebSocket: the same events, and an id of each that can be resumed from', async (t) => {
  const node = await (await Cluster.create(t)).start('node');
  await node.client.set('k', 'v');
  const start = await node.client.replication();
  const lines = (await (await polled(node, '', 'application/x-ndjson')).text()).trimEnd().split('\n');
  assert.deepEqual(
    lines.map((line) => JSON.parse(line).type),
    ['reset', 'entry', 'synced'],
  );
  await node.client.set('k', 'w');
  const answer = await polled(node, '', 'text/event-stream');
  assert.equal(answer.headers.get('content-type'), 'text/event-stream');
  const [retry = '', ...events] = (await answer.text()).trimEnd().split('\n\n');
  assert.match(retry, /^retry: \d+$/);
  const { position } = await node.client.replication();
  assert.deepEqual(
    events.map((event) => /^id: (.*)$/m.exec(event)?.[1]),
    [undefined, undefined, position],
  );
  const headers = { accept: 'text/event-stream', 'last-event-id': start.position };
  const resumed = await fetch(`${node.url}/v1/changes?wait=0&position=now`, { headers });
  const [, first = '', second = ''] = (await resumed.text()).split('\n\n');
  assert.match(first, new RegExp(`^id: ${start.position}\ndata: \\{"type":"continue"`));
  assert.match(second, new RegExp(`^id: ${position}\ndata: \\{"type":"set"`));
});

test('without WebSocket: what is wrong before the stream begins is a problem with the same code', async (t) => {
  const node = await (await Cluster.create(t)).start('node');
  const cases = [
    [400, 'BAD_REQUEST', 'colour=blue'],
    [400, 'BAD_REQUEST', 'snapshot=false'],
    [410, 'POSITION_LOST', `snapshot=false&position=${'0'.repeat(40)}:5`],
  ] as const;
  for (const [status, code, query] of cases) {
    const response = await polled(node, query, 'application/x-ndjson');
    const problem = (await response.json()) as { code: string };
    assert.deepEqual([response.status, problem.code], [status, code], query);
  }
});

test('both subprotocols have transcripts; protocol.md and replication.md name every reason of a resync, and no other', () => {
  assert.deepEqual([...new Set(ALL.map(({ subprotocol }) => subprotocol))], ['psync.v1', 'psync.v1.json']);
  const [, listed = ''] = /^- `reason` is one of ([^.]*)\./m.exec(MARKDOWN) ?? [];
  assert.deepEqual(
    [...listed.matchAll(/`([^`]*)`/g)].map(([, reason]) => reason),
    FULL_RESYNC_REASONS,
  );
  const [, table = ''] = /^\| reason [^\n]*\n\| ?-[^\n]*\n((?:\|[^\n]*\n)*)/m.exec(REPLICATION) ?? [];
  assert.deepEqual(
    [...table.matchAll(/^\| `([^`]*)`/gm)].map(([, reason]) => reason),
    FULL_RESYNC_REASONS,
  );
});
