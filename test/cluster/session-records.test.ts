/** What the node keeps of the connections of replicas, and what one message of them costs the others. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { join } from 'node:path';
import test from 'node:test';
import { createToken } from '../../src/access/tokens/tokens.ts';
import { until } from '../../src/cli/until.ts';
import { array } from '../../src/stream/encoder.ts';
import { Cluster } from '../support/cluster.ts';
import { RawReplica } from '../support/raw-replica.ts';
import { longestStall } from '../support/stalls.ts';
import { call, trusting } from '../support/trusting.ts';

const WANTED = { name: 'test', prefixes: null, expiresAt: null } as const;

test('connections without a token do not make the node forget those of its replicas', async (t) => {
  const cluster = await Cluster.create(t);
  const file = join(cluster.data('node'), 'tokens.json');
  const make = async (right: string): Promise<string> =>
    (await createToken(file, { ...WANTED, rights: [right] }, Date.now())).text;
  const [admin, replicate] = [await make('admin'), await make('replicate')];
  const node = await cluster.start('node');
  const records = async (): Promise<readonly { id: string; open: boolean }[]> => {
    const answer = await call(node, admin, 'GET', '/v1/replication/sessions');
    return ((await answer.json()) as { sessions: { id: string; open: boolean }[] }).sessions;
  };
  const known = await RawReplica.connect(t, node);
  known.say('AUTH', replicate);
  assert.equal(await known.line(), '+OK');
  known.socket.terminate();
  for (let count = 0; count < 100; count += 1) {
    const { socket } = await RawReplica.connect(t, node);
    socket.close();
    await once(socket, 'close');
  }
  const last = async (): Promise<boolean> => {
    const [newest] = await records();
    return newest?.id === '101' && !newest.open;
  };
  await until('the last one has ended', last);
  const ids = (await records()).map(({ id }) => Number(id));
  assert.deepEqual(ids, [...Array.from({ length: 16 }, (_, index) => 101 - index), 1]);
});

test('a message of tens of thousands of acknowledgements stalls nobody, and the last one of them counts', async (t) => {
  const cluster = await Cluster.create(t);
  const node = await cluster.start('node');
  for (let count = 0; count < 10; count += 1) await node.client.set('k', 'v');
  const [runId = '', end = ''] = (await node.client.replication()).position.split(':');
  const raw = await RawReplica.connect(t, node);
  raw.say('PSYNC', runId, String(Number(end) + 1));
  await until('it is online', async () => (await node.client.replication()).replicas[0]?.state === 'online');
  const ack = array(['REPLCONF', 'ACK', end]);
  const message = Buffer.from(ack.repeat(Math.floor((1024 * 1024 - 100) / ack.length)));
  const stallMs = await longestStall(node, async () => {
    for (let count = 0; count < 5; count += 1) raw.socket.send(message);
    // Ends the session, when everything before is done.
    raw.say('REPLCONF', 'ACK', String(Number(end) + 1));
    await until('the last one has come', () => raw.closed !== null);
  });
  assert.match(raw.closed?.reason ?? '', /^ACK .* is past /);
  t.diagnostic(`${Math.round(stallMs)} ms`);
  assert.ok(stallMs < 90, `${stallMs} ms`);
});

test('a replica may show with AUTH a signed token as long as a header may hold one', async (t) => {
  const { node, issuer } = await trusting(t);
  const token = await issuer.sign({ pad: 'x'.repeat(5_500), psyncd: { rights: ['replicate', 'metrics'] } });
  assert.ok(token.length > 7_000);
  assert.equal((await call(node, token, 'GET', '/v1/replication')).status, 200);
  const raw = await RawReplica.connect(t, node);
  raw.say('AUTH', token);
  assert.equal(await raw.line(), '+OK');
});
