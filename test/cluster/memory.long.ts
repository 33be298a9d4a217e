/**
 * What requests and answers take of a node's memory. The bounds are generous: what goes wrong takes several times as much. The
 * memory of a process that has been at work is never exactly what is in use.
 */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import test, { type TestContext } from 'node:test';
import { setTimeout as wait } from 'node:timers/promises';
import { fill } from '../../bench/fill.ts';
import { pidOf } from '../../bench/requests.ts';
import { residentBytes } from '../../bench/resident-bytes.ts';
import { keyAt, VALUE } from '../../bench/workload.ts';
import type { ChildNode } from '../../src/cli/child-node.ts';
import { until } from '../../src/cli/until.ts';
import { Cluster, textOf } from '../support/cluster.ts';
import { infoOf } from '../support/reports.ts';

const ENTRIES = 300_000;
const MIB = 1024 * 1024;
const LARGE = Buffer.alloc(16 * MIB, 'x');
/** What a node takes beside what is counted, when it has work for the first time. */
const SLACK = 100 * MIB;
const LINUX = { skip: process.platform !== 'linux' };

/** A connection whose failures do not matter; it is gone after the test. */
async function connected(t: TestContext, node: ChildNode): Promise<Socket> {
  const socket = connect(node.port, '127.0.0.1');
  socket.on('error', () => undefined);
  t.after(() => socket.destroy());
  await once(socket, 'connect');
  return socket;
}

/** Watches how much memory the node takes. @returns what ends it: how much more than now it was at most, in bytes */
function growth(t: TestContext, node: ChildNode): () => number {
  const pid = pidOf(node);
  const before = residentBytes(pid);
  let most = before;
  const look = (): void => {
    // A test that fails ends the node first.
    if (node.process.exitCode !== null || node.process.signalCode !== null) return;
    most = Math.max(most, residentBytes(pid));
  };
  const timer = setInterval(look, 20).unref();
  t.after(() => clearInterval(timer));
  return () => {
    clearInterval(timer);
    look();
    return most - before;
  };
}

function isBelow(bytes: number, limit: number): void {
  assert.ok(bytes <= limit, `it took ${Math.round(bytes / MIB)} MiB; ${Math.round(limit / MIB)} are allowed`);
}

function headOf(request: string, ...headers: readonly string[]): string {
  return [`${request} HTTP/1.1`, 'Host: 127.0.0.1', ...headers, '', ''].join('\r\n');
}

test('an idle node gives back the memory of a burst of writes, and answers as before', LINUX, async (t) => {
  const cluster = await Cluster.create(t);
  const node = await cluster.start('node');
  const pid = pidOf(node);
  await fill(node, ENTRIES);
  const after = residentBytes(pid);
  await until('a third of it has been given back', () => residentBytes(pid) < (after * 2) / 3, 60_000);
  assert.equal(await textOf(node, keyAt(ENTRIES - 1)), VALUE);
});

test(
  'a body takes no more memory than its bytes, however small the chunks in which it is sent',
  LINUX,
  async (t) => {
    const cluster = await Cluster.create(t);
    const node = await cluster.start('node');
    const bytes = MIB / 2;
    const line = '{"key":"imported","value":"v"}';
    for (const [head, body, status] of [
      [headOf('PUT /v1/keys/k', 'Transfer-Encoding: chunked'), 'x'.repeat(bytes), 201],
      [headOf('POST /v1/import', 'Transfer-Encoding: chunked'), line.padEnd(bytes), 200],
      [
        headOf('POST /v1/batch', 'Content-Type: application/json', 'Transfer-Encoding: chunked'),
        '{"ops":[]}'.padStart(bytes),
        200,
      ],
    ] as const) {
      const socket = await connected(t, node);
      const most = growth(t, node);
      const answered = once(socket, 'data');
      socket.write(head);
      for (let at = 0; at < bytes; at += 4_096) {
        const chunks = [...body.slice(at, at + 4_096)].map((byte) => `1\r\n${byte}\r\n`);
        if (!socket.write(chunks.join(''))) await once(socket, 'drain');
      }
      socket.write('0\r\n\r\n');
      const [answer] = (await answered) as [Buffer];
      assert.match(answer.toString(), new RegExp(`^HTTP/1.1 ${status} `), head);
      isBelow(most(), 3 * bytes + SLACK);
      socket.destroy();
    }
    assert.equal((await node.client.get('k'))?.length, bytes);
  },
);

test(
  '--request-memory bounds bodies that arrive together, and the node gives up those that stall',
  LINUX,
  async (t) => {
    const cluster = await Cluster.create(t);
    const memory = 32 * MIB;
    const node = await cluster.start('node', '--request-memory', String(memory), '--body-timeout', '1500ms');
    const most = growth(t, node);
    const statuses = await Promise.all(
      Array.from({ length: 20 }, async () => {
        const socket = await connected(t, node);
        const length = 64 * MIB;
        const ended = new Promise<void>((resolve) => socket.once('close', () => resolve()));
        let text = '';
        socket.on('data', (chunk) => {
          text += chunk;
        });
        socket.write(headOf('POST /v1/batch', 'Content-Type: application/json', `Content-Length: ${length}`));
        // Half of it comes as fast as it is taken, and then a byte from time to time.
        socket.write(Buffer.alloc(length / 2, ' '));
        const trickle = setInterval(() => socket.write(' '), 100).unref();
        await ended;
        clearInterval(trickle);
        return /^HTTP\/1\.1 (\d+) /.exec(text)?.[1];
      }),
    );
    isBelow(most(), 3 * memory + SLACK);
    // One that is read is too slow; one that is not read has waited too long. The end of the connection may overtake an answer.
    for (const status of statuses)
      assert.ok(status === '408' || status === '429' || status === undefined, status);
    assert.ok(statuses.includes('408') || statuses.includes('429'));
    await until('there is room again', async () => {
      const answer = await fetch(`${node.url}/v1/keys/k`, { method: 'PUT', body: LARGE });
      const text = await answer.text();
      if (!answer.ok) throw new Error(text);
      return true;
    });
  },
);

test(
  'eight clients that set values of 16 MiB take at most twice their bodies in memory, beside the overlay',
  LINUX,
  async (t) => {
    const cluster = await Cluster.create(t);
    const overlay = 64 * MIB;
    const node = await cluster.start('node', '--overlay-size', String(overlay));
    await node.client.set('k', 'v');
    const most = growth(t, node);
    await Promise.all(
      Array.from({ length: 8 }, async (_, client) => {
        for (let round = 0; round < 2; round += 1) {
          const answer = await fetch(`${node.url}/v1/keys/k${client}`, { method: 'PUT', body: LARGE });
          assert.ok(answer.ok);
          await answer.text();
        }
      }),
    );
    isBelow(most(), 2 * 8 * LARGE.length + overlay + SLACK);
  },
);

test(
  '--request-memory bounds unread answers: other clients get 429 until the readers have gone',
  LINUX,
  async (t) => {
    const cluster = await Cluster.create(t);
    const memory = 64 * MIB;
    const node = await cluster.start('node', '--request-memory', String(memory));
    await node.client.set('small', 'v');
    await node.client.set('large', LARGE);
    const most = growth(t, node);
    const sockets = await Promise.all(Array.from({ length: 24 }, () => connected(t, node)));
    for (const [index, socket] of sockets.entries()) {
      socket.pause();
      socket.write(headOf(`GET /v1/keys/large${index % 2 === 0 ? '' : '?'}`));
    }
    const refused = await until('there is no room', async () => {
      const answer = await fetch(`${node.url}/v1/keys/large`);
      await answer.arrayBuffer();
      return answer.status === 200 ? null : answer;
    });
    assert.equal(refused.status, 429);
    assert.equal(refused.headers.get('retry-after'), '1');
    assert.equal(await textOf(node, 'small'), 'v');
    isBelow(most(), 3 * memory + SLACK);
    for (const socket of sockets) socket.destroy();
    await until('there is room again', async () => {
      const answer = await fetch(`${node.url}/v1/keys/large`);
      return (await answer.arrayBuffer()).byteLength === LARGE.length;
    });
  },
);

test('--request-memory bounds unread large answers to conditional requests too', LINUX, async (t) => {
  const cluster = await Cluster.create(t);
  const memory = 64 * MIB;
  const node = await cluster.start('node', '--request-memory', String(memory));
  // Also as JSON.
  await node.client.set('large', `"${'x'.repeat(LARGE.length - 2)}"`);
  await until('the value is in the file', async () => (await infoOf(node)).overlay_bytes === '0');
  for (const headers of [['If-None-Match: "1"'], ['If-None-Match: "1"', 'Accept: application/json']]) {
    const most = growth(t, node);
    const sockets = await Promise.all(Array.from({ length: 60 }, () => connected(t, node)));
    for (const socket of sockets) {
      socket.pause();
      socket.write(headOf('GET /v1/keys/large', ...headers));
    }
    await until('there is no room', async () => {
      const answer = await fetch(`${node.url}/v1/keys/large`);
      await answer.arrayBuffer();
      return answer.status === 429;
    });
    isBelow(most(), 3 * memory + SLACK);
    for (const socket of sockets) socket.destroy();
    await until('there is room again', async () => {
      const answer = await fetch(`${node.url}/v1/keys/large`);
      return (await answer.arrayBuffer()).byteLength === LARGE.length;
    });
  }
});

test(
  'large answers to pipelined requests are made one at a time, and all arrive, in order',
  LINUX,
  async (t) => {
    const cluster = await Cluster.create(t);
    const node = await cluster.start('node', '--apply-interval', '10ms');
    await node.client.set('large', LARGE);
    await node.client.set('small', 'v');
    await until('the values are in the file', async () => (await infoOf(node)).overlay_bytes === '0');
    for (const query of ['', '?']) {
      const socket = await connected(t, node);
      const requests = headOf(`GET /v1/keys/large${query}`) + headOf(`GET /v1/keys/small${query}`);
      const most = growth(t, node);
      socket.pause();
      socket.write(requests.repeat(100));
      // Long enough to make all of them.
      await wait(1_000);
      isBelow(most(), 3 * LARGE.length + SLACK);
      const rounds = 3;
      const expected = Array.from({ length: rounds }, () => [String(LARGE.length), '1']).flat();
      assert.deepEqual(await lengthsOf(socket, expected.length), expected);
      socket.destroy();
    }
  },
);

/** Reads answers. @returns their Content-Lengths, of so many at least */
async function lengthsOf(socket: Socket, count: number): Promise<readonly string[]> {
  const lengths: string[] = [];
  let rest = '';
  for await (const chunk of socket as AsyncIterable<Buffer>) {
    rest += chunk.toString('latin1');
    for (const [, length] of rest.matchAll(/content-length: (\d+)\r\n/g)) lengths.push(length as string);
    if (lengths.length >= count) break;
    // A header that the chunk has cut off is looked at again.
    rest = rest.slice(rest.lastIndexOf('\n') + 1).slice(-40);
  }
  return lengths.slice(0, count);
}
