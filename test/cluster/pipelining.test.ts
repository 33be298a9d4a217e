/** Requests that are sent on one connection without waiting for the answers (RFC 9112, 9.3.2). */
import assert from 'node:assert/strict';
import { connect } from 'node:net';
import test from 'node:test';
import { Cluster } from '../support/cluster.ts';

const LARGE = 100 * 1024;

function request(method: string, path: string, body = '', type = 'text/plain'): string {
  const headers = `host: psyncd\r\ncontent-type: ${type}\r\ncontent-length: ${body.length}\r\n`;
  return `${method} ${path} HTTP/1.1\r\n${headers}\r\n${body}`;
}

/** Sends them in one piece, the last one with `connection: close`. @returns all answers, as they came */
async function pipelined(port: number, ...requests: readonly string[]): Promise<string> {
  const socket = connect(port, '127.0.0.1');
  const last = requests.at(-1)?.replace('\r\n\r\n', '\r\nconnection: close\r\n\r\n') ?? '';
  socket.write([...requests.slice(0, -1), last].join(''));
  let text = '';
  for await (const chunk of socket) text += chunk;
  return text;
}

function statuses(answers: string): readonly string[] {
  return [...answers.matchAll(/HTTP\/1\.1 (\d+) /g)].map(([, status]) => status as string);
}

test('writes that are sent one behind the other are done in that order, large or small, and then read', async (t) => {
  const cluster = await Cluster.create(t);
  for (const flags of [[], ['--allow-origin', 'http://there.example']]) {
    const node = await cluster.start(`node${flags.length}`, ...flags);
    const ops = Array.from({ length: 500 }, () => ({ op: 'set', key: 'k', value: 'batch' }));
    const answers = await pipelined(
      node.port,
      request('PUT', '/v1/keys/k', 'A'.repeat(LARGE)),
      request('PUT', '/v1/keys/k', 'B'),
      request('POST', '/v1/batch', JSON.stringify({ ops }), 'application/json'),
      request('GET', '/v1/keys/k'),
      request('PUT', '/v1/keys/k', 'C'),
      request('DELETE', '/v1/keys/other'),
      request('GET', '/v1/keys/k'),
    );
    assert.deepEqual(statuses(answers), ['201', '200', '200', '200', '200', '404', '200']);
    assert.match(answers, /\r\n\r\nbatchHTTP\/1\.1 200/);
    assert.match(answers, /\r\n\r\nC$/);
  }
});

test('of thousands that are sent at once each is answered, in order', async (t) => {
  const cluster = await Cluster.create(t);
  const node = await cluster.start('node');
  const puts = Array.from({ length: 5_000 }, (_, index) => request('PUT', '/v1/keys/k', String(index)));
  const answers = await pipelined(node.port, ...puts);
  assert.deepEqual(statuses(answers), ['201', ...Array.from({ length: 4_999 }, () => '200')]);
  assert.equal(Buffer.from((await node.client.get('k')) ?? []).toString(), '4999');
});
