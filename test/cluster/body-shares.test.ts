/** One client's large bodies and unread answers do not take the memory for requests of all others. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import test, { type TestContext } from 'node:test';
import { createToken } from '../../src/access/tokens/tokens.ts';
import { until } from '../../src/cli/until.ts';
import { Cluster } from '../support/cluster.ts';

const MIB = 1024 * 1024;

const TRICKLE_BYTES = 1_024;
const TRICKLE_MS = 100;

async function staged(t: TestContext) {
  const cluster = await Cluster.create(t);
  const file = join(cluster.data('node'), 'tokens.json');
  const make = async (name: string, prefix: string): Promise<string> => {
    const wanted = { name, rights: ['read', 'write'] as const, prefixes: [prefix], expiresAt: null };
    return (await createToken(file, wanted, Date.now())).text;
  };
  const [greedy, other] = [await make('greedy', 'greedy:'), await make('other', 'other:')];
  const node = await cluster.start('node', '--request-memory', '64mb', '--body-timeout', '5s');
  const put = (value: Buffer): Promise<Response> =>
    fetch(`${node.url}/v1/keys/other:k`, {
      method: 'PUT',
      headers: { authorization: `Bearer ${other}` },
      body: new Uint8Array(value),
    });
  return { node, greedy, other, put };
}

/** @returns a connection that has sent this */
async function opened(
  t: TestContext,
  port: number,
  ...pieces: readonly (string | Buffer)[]
): Promise<Socket> {
  const socket = connect(port, '127.0.0.1').on('error', () => undefined);
  t.after(() => socket.destroy());
  await once(socket, 'connect');
  for (const piece of pieces) socket.write(piece);
  return socket;
}

/** Begins more bodies than there is room for, each of which goes on trickling. Resolves when one of them is in memory. */
async function trickled(t: TestContext, port: number, token: string, prefix: string): Promise<void> {
  const sockets: Socket[] = [];
  for (let count = 0; count < 8; count += 1) {
    const head = `PUT /v1/keys/${prefix}${count} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer ${token}\r\nContent-Length: ${8 * MIB}\r\n\r\n`;
    const socket = await opened(t, port, head, Buffer.alloc(7 * MIB));
    const trickle = setInterval(() => socket.write(Buffer.alloc(TRICKLE_BYTES)), TRICKLE_MS).unref();
    t.after(() => clearInterval(trickle));
    sockets.push(socket);
  }
  await until('one of them is taken', () => sockets.some(({ writableLength }) => writableLength < MIB));
}

test('a client that trickles large bodies does not keep others from writing', async (t) => {
  const { node, greedy, put } = await staged(t);
  await trickled(t, node.port, greedy, 'greedy:');
  for (let count = 0; count < 3; count += 1) {
    const answer = await put(Buffer.alloc(4 * MIB));
    assert.equal(answer.status, count === 0 ? 201 : 200, await answer.text());
  }
});

test('while bodies wait for room, those that trickle end, of the same client too', async (t) => {
  const { node, other, put } = await staged(t);
  await trickled(t, node.port, other, 'other:');
  await until('there is room', async () => {
    const answer = await put(Buffer.alloc(8 * MIB));
    await answer.text();
    return answer.ok;
  });
});
