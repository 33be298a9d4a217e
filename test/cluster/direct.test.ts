/**
 * Reads and writes of one entry have a short cut past Fastify when nothing about them is out of the ordinary. A query,
 * even an empty one, goes the long way: so the same request can be sent both ways, and must be answered alike.
 */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect } from 'node:net';
import test from 'node:test';
import { Chance } from '../hostile/chance.ts';
import { HARMLESS_HEADERS, NAMES } from '../hostile/dictionary.ts';
import { Cluster, converged, linkState } from '../support/cluster.ts';
import { type Answer, Connection, type Headers, json } from '../support/contract.ts';
import { Pipeline } from '../support/pipeline.ts';
import { seeded } from '../support/random.ts';

/** Everything that may stand in a path as it is, with a bias for what means something to somebody. */
const CHARACTERS = `!"$&'()*+,-./:;<=>@[\\]^_\`{|}~...//..;;==&&${'abcXYZ0189'}`;
/** What has a meaning at the end of a path for JavaScript, or for another method. */
const ENDINGS = ['', '', '', '/constructor', '/__proto__', '/toString', '/increment', '/append'];
const ROUNDS = 120;

/** Of an answer what two writes of two keys have in common. */
function comparable(answer: Answer): object {
  const { status, headers } = answer;
  const { date: _, etag: __, 'psync-position': ___, 'content-length': ____, ...rest } = headers;
  const isJson = String(headers['content-type']).startsWith('application/json');
  const { key: _key, version: _version, position: _position, ...members } = isJson ? json(answer) : {};
  return { status, headers: rest, members };
}

/** What must be the same of two reads of one entry, which is all but the time. */
function exact({ status, headers: { date: _, ...headers }, body }: Answer): object {
  return { status, headers, body: body.toString('latin1') };
}

test('the short cut answers like the long way, whatever the key, the value and the headers', async (t) => {
  const { seed, random } = seeded();
  t.diagnostic(`PSYNCD_SEED=${seed}`);
  const cluster = await Cluster.create(t);
  const master = await cluster.start('master');
  const replica = await cluster.start('replica', '--replica-of', master.wsUrl);
  await linkState(replica, 'streaming');
  const [http, onReplica] = [new Connection(t, master), new Connection(t, replica)];
  const below = (limit: number): number => Math.floor(random() * limit);
  // The same names and headers as npm run hostile sends.
  const chance = new Chance(seed);
  const headerSets: Headers[] = [
    {},
    { accept: '*/*' },
    { accept: 'application/json' },
    { 'if-none-match': '"1"' },
    { 'if-match': '*' },
    { origin: 'http://elsewhere.example' },
    { 'content-type': 'text/plain; charset=utf-8' },
  ];
  for (let round = 0; round < ROUNDS; round += 1) {
    const characters = Array.from({ length: 1 + below(12) }, () => CHARACTERS[below(CHARACTERS.length)]).join(
      '',
    );
    const word = chance.is(0.3) ? chance.of(NAMES) : characters;
    // Of this round alone: a key that is there already would be answered otherwise.
    const name = `${round}-${word}${ENDINGS[below(ENDINGS.length)]}`;
    const more = Object.fromEntries(chance.some(HARMLESS_HEADERS, 3));
    const headers: Headers = { ...more, ...headerSets[below(headerSets.length)] };
    const value = Buffer.alloc(below(3) === 0 ? 0 : below(6_000), random() < 0.5 ? 'v' : '\u00ff');
    const [short, long] = [`/v1/keys/s${name}`, `/v1/keys/l${name}`];
    for (const _again of ['new', 'replaced']) {
      const written = await http.send('PUT', short, value, headers);
      const other = await http.send('PUT', `${long}?`, value, headers);
      assert.deepEqual(comparable(written), comparable(other), `PUT ${short} ${JSON.stringify(headers)}`);
    }
    await http.send('PUT', `${short}?${random() < 0.2 ? 'ttl=100' : ''}`, value);
    const at = String((await http.send('GET', '/healthz')).headers['psync-position']);
    assert.deepEqual(
      exact(await http.send('GET', short, undefined, headers)),
      exact(await http.send('GET', `${short}?`, undefined, headers)),
      `GET ${short} ${JSON.stringify(headers)}`,
    );
    assert.equal((await onReplica.send('GET', `${short}?position=${at}&timeout=60000`)).status, 200, short);
    assert.deepEqual(
      exact(await onReplica.send('GET', short, undefined, headers)),
      exact(await onReplica.send('GET', `${short}?`, undefined, headers)),
      `GET ${short} on the replica`,
    );
    const refused = await onReplica.send('PUT', short, value);
    assert.equal(refused.status, 307);
    assert.equal(refused.headers.location, `${master.url}${short}`);
    const none = `/v1/keys/none${name}`;
    assert.deepEqual(
      (await http.send('GET', none)).body.toString(),
      (await http.send('GET', `${none}?`)).body.toString(),
    );
  }
  await converged(master, replica);
});

test('a write whose connection breaks in its body is not written, by the short cut either', async (t) => {
  const cluster = await Cluster.create(t);
  const node = await cluster.start('node');
  const { offset } = await node.client.replication();
  const socket = connect(node.port, '127.0.0.1');
  await once(socket, 'connect');
  socket.write('PUT /v1/keys/half HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\nhalf');
  socket.end();
  for await (const _chunk of socket);
  assert.equal((await node.client.replication()).offset, offset);
});

test('requests sent without waiting for answers are answered in their order, whichever way each goes', async (t) => {
  const cluster = await Cluster.create(t);
  const node = await cluster.start('node');
  await node.client.set('there', '<there>');
  const socket = connect(node.port, '127.0.0.1');
  await once(socket, 'connect');
  const indexes = Array.from({ length: 50 }, (_, index) => index);
  const requests = indexes.map((index) => {
    const [put, get] = [index % 2 === 0 ? '?' : '', index % 3 === 0 ? '?' : ''];
    return (
      `PUT /v1/keys/k${index}${put} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\nv` +
      `GET /v1/keys/there${get} HTTP/1.1\r\nHost: localhost\r\n\r\n`
    );
  });
  socket.end(requests.join(''));
  let text = '';
  for await (const chunk of socket) text += chunk;
  const answered = [...text.matchAll(/"key":"(k\d+)"|<there>/g)].map(([whole, key]) => key ?? whole);
  assert.deepEqual(
    answered,
    indexes.flatMap((index) => [`k${index}`, '<there>']),
  );
});

test('reads that arrive together are answered each for itself: what is there, what is not, and whose client has left', async (t) => {
  const cluster = await Cluster.create(t);
  const node = await cluster.start('node');
  await node.client.set('there', '<there>');
  const paths = ['/v1/keys/there', '/v1/keys/absent', '/v1/keys/there?'];
  const requests = Array.from({ length: 60 }, (_, index) => ['GET', paths[index % 3] as string] as const);
  const left = connect(node.port, '127.0.0.1');
  await once(left, 'connect');
  left.write('GET /v1/keys/there HTTP/1.1\r\nHost: localhost\r\n\r\n'.repeat(60));
  left.resetAndDestroy();
  const pipelines = await Promise.all(Array.from({ length: 4 }, () => Pipeline.to(t, node)));
  for (const pipeline of pipelines) pipeline.send(requests);
  for (const pipeline of pipelines) {
    await pipeline.drained();
    assert.deepEqual(Object.fromEntries(pipeline.statuses), { 200: 40, 404: 20 });
    pipeline.end();
  }
});
