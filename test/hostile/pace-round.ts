/**
 * A round of bad manners: bodies that trickle, requests that stop in the middle, answers that nobody takes, followers that do
 * not read, clients that leave. A polite client beside them has to be served as if they were not there.
 */
import { setTimeout as pause } from 'node:timers/promises';
import type { Chance } from './chance.ts';
import type { Subject } from './subject.ts';
import { Wire } from './wire.ts';

const LARGE_BYTES = 1024 * 1024;
const POLITE_WITHIN_MS = 30_000;
/** How long the impolite ones stay. */
const STAY_MS = 1_000;

type Impolite = (wire: Wire, chance: Chance, host: string) => Promise<void>;

const get = (host: string, path: string): string => `GET ${path} HTTP/1.1\r\nHost: ${host}\r\n\r\n`;
const post = (host: string, path: string, fields: string): string =>
  `POST ${path} HTTP/1.1\r\nHost: ${host}\r\n${fields}\r\n\r\n`;

/** What is sent without an end, until the connection is destroyed. */
function* endless(first: string, again: string): Generator<Buffer> {
  yield Buffer.from(first);
  for (const piece = Buffer.from(again); ; ) yield piece;
}

const IMPOLITE: Readonly<Record<string, Impolite>> = {
  'a body in one-byte chunks': async (wire, chance, host) => {
    const chunks = '1\r\nx\r\n'.repeat(2_000 + chance.below(30_000));
    const head = `PUT /v1/keys/odd/trickle HTTP/1.1\r\nHost: ${host}\r\nTransfer-Encoding: chunked\r\n\r\n`;
    await wire.send(chance.below(2) === 0 ? endless(head, chunks) : [Buffer.from(head + chunks)]);
  },
  'a body that stops': async (wire, chance, host) => {
    const size = chance.of([10, 70_000, LARGE_BYTES, 16 * LARGE_BYTES]);
    const head = `PUT /v1/keys/odd/stops HTTP/1.1\r\nHost: ${host}\r\nContent-Length: ${size}\r\n\r\n`;
    await wire.send([Buffer.from(head), Buffer.alloc(Math.floor(size / 2), 'x')]);
  },
  'a batch that trickles': async (wire, chance, host) => {
    const body = `{"ops":[${'{"op":"get","key":"odd"},'.repeat(500 + chance.below(500))}`;
    await wire.send([
      Buffer.from(post(host, '/v1/batch', 'Content-Type: application/json\r\nContent-Length: 60000000')),
    ]);
    await wire.send(chance.pieces(Buffer.from(body)));
  },
  'an import that trickles': async (wire, chance, host) => {
    await wire.send([
      Buffer.from(
        post(host, '/v1/import', 'Content-Type: application/x-ndjson\r\nTransfer-Encoding: chunked'),
      ),
    ]);
    const line = '{"key":"odd/import","value":"v"}\n';
    await wire.send(
      Array.from({ length: 50 + chance.below(100) }, () =>
        Buffer.from(`${line.length.toString(16)}\r\n${line}\r\n`),
      ),
      2,
    );
  },
  'headers that stop': async (wire, _chance, host) => {
    await wire.send([Buffer.from(`GET /healthz HTTP/1.1\r\nHost: ${host}\r\nX-A`)]);
  },
  'answers that nobody takes': async (wire, chance, host) => {
    wire.stopReading();
    await wire.send([Buffer.from(get(host, '/v1/keys/odd/large').repeat(10 + chance.below(60)))]);
  },
  'an export that nobody takes': async (wire, _chance, host) => {
    wire.stopReading();
    await wire.send([Buffer.from(get(host, '/v1/export?prefix=odd').repeat(3))]);
  },
  'a page with values that nobody takes': async (wire, _chance, host) => {
    wire.stopReading();
    await wire.send([Buffer.from(get(host, '/v1/keys?prefix=odd&values=true').repeat(20))]);
  },
  'a follower that does not read': async (wire, chance, host) => {
    const accept = chance.of(['text/event-stream', 'application/x-ndjson']);
    wire.stopReading();
    await wire.send([
      Buffer.from(`GET /v1/changes?prefix=odd HTTP/1.1\r\nHost: ${host}\r\nAccept: ${accept}\r\n\r\n`),
    ]);
  },
  'a WebSocket that goes on behind its end': async (wire, chance, host) => {
    const path = chance.of(['/v1/changes psync.v1.json', '/v1/replication/stream psync.v1']);
    const [target, subprotocol] = path.split(' ');
    const fields = [
      'Connection: Upgrade',
      'Upgrade: websocket',
      'Sec-WebSocket-Version: 13',
      'Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==',
      `Sec-WebSocket-Protocol: ${subprotocol}`,
    ];
    await wire.send([
      Buffer.from(`GET ${target} HTTP/1.1\r\nHost: ${host}\r\n${fields.join('\r\n')}\r\n\r\n`),
    ]);
    // Masked frames of one byte or none: text, binary, ping, pong, close.
    const frame = chance.of([
      '8181000000007b',
      '8281000000002a',
      '898000000000',
      '8a8000000000',
      '888000000000',
    ]);
    const frames = Buffer.from(frame.repeat(2_000), 'hex');
    await wire.send(Array<Buffer>(5 + chance.below(20)).fill(frames));
  },
  'a write that waits for replicas that never come': async (wire, _chance, host) => {
    const head = `PUT /v1/keys/odd/acks?acks=1000&timeout=60000 HTTP/1.1\r\nHost: ${host}\r\nContent-Length: 1\r\n\r\nx`;
    await wire.send([Buffer.from(head)]);
  },
  'pipelines of reads': async (wire, chance, host) => {
    const paths = [
      '/v1/keys/odd/small',
      '/v1/keys/none',
      '/v1/info',
      '/v1/keys?limit=1000',
      '/v1/replication',
    ];
    const many = get(host, chance.of(paths)).repeat(1_000);
    await wire.send(chance.below(2) === 0 ? endless('', many) : [Buffer.from(many)]);
  },
};

/** @throws nothing: what is wrong is told to the subject */
export async function paceRound(subject: Subject, chance: Chance): Promise<void> {
  const host = `127.0.0.1:${subject.node.port}`;
  const name = chance.of(Object.keys(IMPOLITE));
  const impolite = IMPOLITE[name] as Impolite;
  subject.doing = name;
  const large = Buffer.alloc(LARGE_BYTES, chance.of(['x', '\u0001', '9']));
  const wires: Wire[] = [];
  try {
    await polite(subject, 'PUT', '/v1/keys/odd/large', large);
    await polite(subject, 'PUT', '/v1/keys/odd/small', Buffer.from('small'));
    const some = Array.from({ length: 5 + chance.below(25) }, async () => {
      const wire = await Wire.to(subject.node.port);
      wires.push(wire);
      await impolite(wire, chance, host);
    });
    await Promise.race([Promise.all(some), pause(STAY_MS)]);
    for (const value of ['1', '2', '3'])
      await polite(subject, 'PUT', '/v1/keys/odd/polite', Buffer.from(value));
    await polite(subject, 'GET', '/v1/keys/odd/large');
    await pause(chance.below(STAY_MS));
  } catch (error) {
    if (!subject.hasEnded) subject.found(`pace: beside ${name}`, String(error));
  } finally {
    for (const wire of wires) wire.destroy();
  }
}

async function polite(subject: Subject, method: string, path: string, body?: Buffer): Promise<void> {
  const response = await fetch(`${subject.node.url}${path}`, {
    method,
    body: body ?? null,
    signal: AbortSignal.timeout(POLITE_WITHIN_MS),
  });
  await response.arrayBuffer();
  // What is refused for want of room may be asked again; that is an answer.
  if (!response.ok && response.status !== 503 && response.status !== 429)
    throw new Error(`${method} ${path} answered ${response.status}`);
}
