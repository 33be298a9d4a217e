/** One client does not take the places of all others for what waits and for what holds the keyspace file. */
import assert from 'node:assert/strict';
import { connect } from 'node:net';
import { join } from 'node:path';
import test, { type TestContext } from 'node:test';
import { createToken } from '../../src/access/tokens/tokens.ts';
import { until } from '../../src/cli/until.ts';
import { Cluster } from '../support/cluster.ts';

interface Sender {
  readonly prefix: string;
  readonly authorization: string;
  /** Sends a request and reads only the beginning of its answer. @returns a function that returns what has come */
  begin(method: string, path: string): () => string;
  /** @returns status, code and detail of the answer */
  ask(method: string, path: string): Promise<{ status: number; code?: string; detail?: string }>;
}

/** A node, and two clients for a prefix each. */
async function staged(t: TestContext, ...flags: readonly string[]) {
  const cluster = await Cluster.create(t);
  const file = join(cluster.data('node'), 'tokens.json');
  const tokenOf = async (name: string): Promise<string> => {
    const wanted = { name, rights: ['read', 'write'] as const, prefixes: [`${name}:`], expiresAt: null };
    return (await createToken(file, wanted, Date.now())).text;
  };
  const tokens = { greedy: await tokenOf('greedy'), other: await tokenOf('other') };
  const node = await cluster.start('node', ...flags);
  const sender = (name: keyof typeof tokens): Sender => {
    const authorization = `Bearer ${tokens[name]}`;
    return {
      prefix: `${name}:`,
      authorization,
      begin: (method, path) => {
        const socket = connect(node.port, '127.0.0.1').on('error', () => undefined);
        t.after(() => socket.destroy());
        let text = '';
        socket.once('data', (data) => {
          socket.pause();
          text = data.toString('latin1');
        });
        socket.write(
          `${method} ${path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: ${authorization}\r\nContent-Length: 0\r\n\r\n`,
        );
        return () => text;
      },
      ask: async (method, path) => {
        const answer = await fetch(`${node.url}${path}`, { method, headers: { authorization } });
        if (answer.ok) {
          await answer.body?.cancel();
          return { status: answer.status };
        }
        return { status: answer.status, ...((await answer.json()) as object) };
      },
    };
  };
  return { node, greedy: sender('greedy'), other: sender('other') };
}

/** Begins so many requests, which keep their places. @returns the answer of the one that is refused */
async function refused(client: Sender, count: number, method: string, path: string): Promise<string> {
  const begun = Array.from({ length: count }, () => client.begin(method, path));
  const isRefused = (answer: () => string): boolean => answer().startsWith('HTTP/1.1 429');
  await until('one of them is refused', () => begun.some(isRefused));
  assert.equal(begun.filter(isRefused).length, 1);
  return begun.find(isRefused)?.() ?? '';
}

test('a client whose writes wait for acks leaves places to another client', async (t) => {
  const { greedy, other } = await staged(t, '--max-waiting', '4');
  const path = ({ prefix }: Sender, timeout: number): string =>
    `/v1/keys/${prefix}k?acks=1&timeout=${timeout}`;
  assert.match(await refused(greedy, 4, 'PUT', path(greedy, 600_000)), /3 writes of this client wait/);
  assert.equal((await other.ask('PUT', path(other, 1))).status, 202);
});

test('a client whose reads wait for a position leaves places to another client', async (t) => {
  const { node, greedy, other } = await staged(t, '--max-waiting', '4');
  const at = (await fetch(`${node.url}/healthz`)).headers.get('psync-position') ?? '';
  const [runId, offset] = at.split(':');
  const path = ({ prefix }: Sender, timeout: number): string =>
    `/v1/keys/${prefix}k?position=${runId}:${Number(offset) + 1_000_000}&timeout=${timeout}`;
  assert.match(await refused(greedy, 4, 'GET', path(greedy, 600_000)), /3 reads of this client wait/);
  assert.equal((await other.ask('GET', path(other, 1))).code, 'NOT_REACHED');
});

test('a client whose exports are not read leaves exports to another client', async (t) => {
  const { greedy, other, node } = await staged(t);
  // More than sockets take.
  const value = Buffer.alloc(16 * 1024 * 1024, 'x');
  for (const name of ['a', 'b', 'c']) {
    const put = await fetch(`${node.url}/v1/keys/greedy:${name}`, {
      method: 'PUT',
      headers: { authorization: greedy.authorization },
      body: value,
    });
    assert.equal(put.status, 201);
  }
  const path = ({ prefix }: Sender): string => `/v1/export?prefix=${prefix}`;
  assert.match(await refused(greedy, 5, 'GET', path(greedy)), /4 exports of this client are going on/);
  assert.equal((await other.ask('GET', path(other))).status, 200);
});
