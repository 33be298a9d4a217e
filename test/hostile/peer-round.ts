/**
 * Rounds of hostile peers. A replica that says nonsense to the master; and a master that says nonsense to a replica: in its
 * answers, its snapshots, its stream and its REST API. Afterwards the replica, back at its true master, holds what that holds.
 */
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setTimeout as pause } from 'node:timers/promises';
import { type WebSocket as Socket, WebSocket, WebSocketServer } from 'ws';
import type { ChildNode } from '../../src/cli/child-node.ts';
import { until } from '../../src/cli/until.ts';
import { array } from '../../src/stream/encoder.ts';
import type { Chance } from './chance.ts';
import { NAMES, ODD_NUMBERS, oddJson, TEXTS } from './dictionary.ts';
import { hostileSnapshot } from './snapshots.ts';
import type { Subject } from './subject.ts';

const CONNECTIONS = 6;
/** How long a hostile master is followed. */
const FOLLOW_MS = 1_500;
/** How long a replica may take to come back to its true master. */
const RETURN_MS = 60_000;

/** What a real master has sent: the place and the bytes of its snapshot. */
export interface GoodSnapshot {
  readonly runId: string;
  readonly offset: number;
  readonly bytes: Buffer;
}

/** Asks a master for a snapshot, as a replica does. */
export async function goodSnapshot(master: ChildNode): Promise<GoodSnapshot> {
  const socket = new WebSocket(`${master.wsUrl}/v1/replication/stream`, 'psync.v1');
  const chunks: Buffer[] = [];
  socket.on('message', (data: Buffer) => chunks.push(data));
  await once(socket, 'open');
  for (const words of [['PING'], ['PSYNC', '?', '-1']]) socket.send(Buffer.from(array(words)));
  const snapshot = await until('the snapshot has come', () => {
    const all = Buffer.concat(chunks);
    const head = /^\+PONG\r\n\+FULLRESYNC ([0-9a-f]{40}) (\d+)[^\r]*\r\n\$(\d+)\r\n/.exec(
      all.toString('latin1', 0, 500),
    );
    if (head === null) return null;
    const bytes = all.subarray(head[0].length, head[0].length + Number(head[3]));
    return bytes.length < Number(head[3])
      ? null
      : { runId: head[1] as string, offset: Number(head[2]), bytes };
  });
  socket.terminate();
  return snapshot;
}

/** Replicas that say nonsense to the subject, in words and in bytes. */
export async function hostileReplicas(subject: Subject, chance: Chance): Promise<void> {
  const sockets = await Promise.all(
    Array.from({ length: CONNECTIONS }, async () => {
      const socket = new WebSocket(`${subject.node.wsUrl}/v1/replication/stream`, 'psync.v1');
      socket.on('error', () => undefined);
      await Promise.race([once(socket, 'open'), once(socket, 'close')]);
      return socket;
    }),
  );
  const runId = (await subject.node.client.replication()).runId;
  for (const socket of sockets) {
    const said = Buffer.concat(Array.from({ length: 1 + chance.below(20) }, () => nonsense(chance, runId)));
    for (const piece of chance.pieces(said)) if (socket.readyState === WebSocket.OPEN) socket.send(piece);
    if (chance.is(0.2)) socket.pause();
  }
  await pause(chance.below(300));
  for (const socket of sockets) socket.terminate();
  await until('no hostile replica is left in the list', async () => {
    const { replicas } = await subject.node.client.replication();
    return replicas.every(({ url }) => url !== undefined && /^ws:\/\/127\.0\.0\.1:\d+$/.test(url));
  });
}

function nonsense(chance: Chance, runId: string): Buffer {
  const word = (): string =>
    chance.of([...NAMES, ...TEXTS, ...ODD_NUMBERS, runId, '1', '0', '-1', 'x'.repeat(5_000)]);
  const url = (): string =>
    chance.of([
      'ws://a,offset=9:1',
      'ws://u:p@127.0.0.1:1/x',
      'ws://127.0.0.1:1?\u0000',
      'ws://[::1',
      'ftp://x',
      `ws://${'x'.repeat(3_000)}:1`,
    ]);
  const choices: readonly (readonly string[])[] = [
    ['PING'],
    ['REPLCONF', 'listening-url', url()],
    ['REPLCONF', 'listening-port', word(), 'ip-address', word()],
    ['REPLCONF', 'capa', word(), 'capa', 'psync2'],
    ['REPLCONF', 'capa', 'snapshot-crc32', 'capa', 'snapshot-resume'],
    ['REPLCONF', 'snapshot', `${runId}:${word()}:${word()}:${word()}:${chance.of(['00000000', word()])}`],
    ['REPLCONF', 'snapshot', `${runId}:1:1048576:1048576:ffffffff`],
    ['REPLCONF', 'node-id', word()],
    ['REPLCONF', 'ACK', word()],
    ['REPLCONF', 'GETACK', '*'],
    ['REPLCONF', word(), word()],
    ['REPLCONF'],
    ['PSYNC', chance.of(['?', runId, runId.toUpperCase(), word()]), chance.of(['-1', '1', '007', word()])],
    ['PSYNC', runId, '1', 'FAILOVER'],
    ['SYNC'],
    ['AUTH', word()],
    [word(), word()],
    [],
  ];
  const bytes = Buffer.from(array(chance.of(choices)));
  switch (chance.below(8)) {
    case 0:
      return chance.bytes(chance.below(100));
    case 1:
      return Buffer.from(
        chance.of([
          '*1000000000\r\n',
          '*-1\r\n',
          '*1\r\n$536870912\r\n',
          '*1\r\n$-5\r\n',
          '*1\r\n*1\r\n',
          'PING\r\n',
          '\r\n\r\n',
          '*0\r\n',
          '$1\r\na\r\n',
          `*1\r\n$${'9'.repeat(400)}\r\n`,
        ]),
      );
    case 2: {
      const at = chance.below(bytes.length);
      bytes[at] = chance.below(256);
      return bytes;
    }
    default:
      return bytes;
  }
}

/** A master that says nonsense to `replica`, which follows `master` before and after. */
export async function hostileMaster(
  replica: Subject,
  master: ChildNode,
  good: GoodSnapshot,
  chance: Chance,
  folder: string,
): Promise<void> {
  const told: string[] = [];
  // Nothing more comes of its master: what it holds may only change by the hostile one.
  await comeBack(replica, master, 'before');
  const before = await replica.node.client.digest();
  const http = createServer((request, response) => {
    // Of the chain upward: an upstream that is none, an answer without an end, JSON that is odd.
    const upstream = chance.of([
      'ftp://x',
      'ws://127.0.0.1:1/../v1/config',
      'ws://u:p@127.0.0.1:1',
      '',
      'http:',
      'ws://\u0000',
      `ws://${'x'.repeat(5_000)}`,
    ]);
    const body = chance.is(0.5)
      ? JSON.stringify({ nodeId: chance.of(NAMES), upstream: { url: upstream } })
      : chance.of(oddJson(5_000));
    told.push(`${request.url} ${body.slice(0, 60)}`);
    response.on('error', () => undefined);
    response.writeHead(chance.of([200, 200, 200, 301, 500]), {
      location: 'http://127.0.0.1:1/',
      'content-type': 'application/json',
    });
    response.end(chance.is(0.1) ? Buffer.alloc(8 * 1024 ** 2, ' ') : body);
  });
  http.listen(0, '127.0.0.1');
  await once(http, 'listening');
  const sockets = new WebSocketServer({ server: http, handleProtocols: () => 'psync.v1' });
  sockets.on('connection', (socket) =>
    answerWithNonsense(socket, good, chance, folder, (what) => told.push(what)),
  );
  try {
    const url = `ws://127.0.0.1:${(http.address() as AddressInfo).port}`;
    await fetch(`${replica.node.url}/v1/replication/upstream`, {
      method: 'PUT',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ url }),
    });
    await pause(FOLLOW_MS);
    const after = await replica.node.client.digest();
    // If it did not follow, it may have got what its true master has written meanwhile; that one may have gone on since.
    const { digest } = await master.client.digest();
    const wasSent = told.some((what) => !what.startsWith('/v1/'));
    if (wasSent && after.digest !== before.digest && after.digest !== digest)
      replica.found('a hostile snapshot or stream was taken', told.join('\n'));
  } finally {
    for (const socket of sockets.clients) socket.terminate();
    sockets.close();
    http.close();
    http.closeAllConnections();
  }
  await comeBack(replica, master, told.join('\n'));
}

async function comeBack(replica: Subject, master: ChildNode, told: string): Promise<void> {
  const { node } = replica;
  try {
    await node.client.replicaOf(master.wsUrl);
    await until(
      'the replica holds what its master holds',
      async () => {
        const [here, there] = await Promise.all([node.client.digest(), master.client.digest()]);
        return here.position === there.position && here.digest === there.digest;
      },
      RETURN_MS,
    );
  } catch (error) {
    const state = replica.hasEnded ? 'ended' : JSON.stringify((await node.client.replication()).upstream);
    replica.found('a replica does not come back', `${error}\n${state}\n${told}`);
  }
}

function answerWithNonsense(
  socket: Socket,
  good: GoodSnapshot,
  chance: Chance,
  folder: string,
  tell: (what: string) => void,
): void {
  const otherId = chance.of(['d', '0', 'a']).repeat(40);
  const send = (what: string, bytes: Buffer): void => {
    tell(what);
    for (const piece of bytes.length > 10_000 ? [bytes] : chance.pieces(bytes)) {
      if (socket.readyState === WebSocket.OPEN) socket.send(piece);
    }
  };
  const answers: readonly (() => void)[] = [
    () => {
      const { what, bytes, crc32 } = hostileSnapshot(chance, good.bytes, folder);
      const head = `+FULLRESYNC ${good.runId} ${good.offset} ${chance.of(['first-sync', 'constructor', ''])}\r\n$${bytes.length} crc32\r\n`;
      const tail = `$crc32 ${crc32.toString(16).padStart(8, '0')}\r\n`;
      send(what, Buffer.concat([Buffer.from(head), bytes, Buffer.from(tail)]));
    },
    () =>
      send(
        'nonsense line',
        Buffer.from(
          `${chance.of(['+FULLRESYNC', '+CONTINUE', '-ERR', '-NOMASTERLINK', '-LOADING', '-SCHEMA', '$5', '+'])} ${chance.of([...TEXTS, ...ODD_NUMBERS, otherId])} ${chance.of(ODD_NUMBERS)} ${chance.of(NAMES)} ${'x'.repeat(chance.of([0, 9_000]))}\r\n`,
        ),
      ),
    () =>
      send(
        'length',
        Buffer.from(
          `+FULLRESYNC ${otherId} 5 first-sync\r\n$${chance.of([...ODD_NUMBERS, '99999999999999', '0'])}\r\n`,
        ),
      ),
    () =>
      send(
        'stream of nonsense',
        Buffer.concat([Buffer.from(`+CONTINUE ${otherId} 0\r\n`), invalidCommand(chance)]),
      ),
    () => send('noise', chance.bytes(500)),
    () => socket.close(chance.of([1000, 1001, 4400, 4409, 4503]), 'constructor\u0007'),
  ];
  socket.on('error', () => undefined);
  socket.on('message', (data) => {
    const text = data.toString();
    if (text.includes('PSYNC')) chance.of(answers)();
    else if (text.includes('PING') && socket.readyState === WebSocket.OPEN)
      socket.send(Buffer.from('+PONG\r\n'));
    else if (!text.includes('ACK') && socket.readyState === WebSocket.OPEN)
      socket.send(Buffer.from('+OK\r\n'));
  });
}

/** What cannot stand in a stream: the link must end, and nothing of it be applied. */
function invalidCommand(chance: Chance): Buffer {
  const key = chance.of([...NAMES, ...TEXTS]);
  const choices: readonly (readonly string[])[] = [
    ['SET', key],
    ['SET', key, 'v', 'PXAT'],
    ['SET', key, 'v', 'PXAT', chance.of(ODD_NUMBERS)],
    ['SET', key, 'v', 'EX', '1'],
    ['SET', '', 'v'],
    ['SET', 'x'.repeat(2_000), 'v'],
    ['DEL'],
    ['PEXPIREAT', key, chance.of(ODD_NUMBERS)],
    ['EXEC'],
    ['EVAL', 'x', '0'],
    ['constructor'],
    ['__proto__', key],
    [],
  ];
  if (chance.is(0.2))
    return Buffer.from(`*1\r\n$5\r\nMULTI\r\n${array(['SET', 'hostile', 'v'])}*1\r\n$5\r\nMULTI\r\n`);
  if (chance.is(0.2))
    return Buffer.from(
      chance.of([
        '*-1\r\n',
        '*1\r\n$-1\r\n',
        '*1000000000\r\n',
        `*2\r\n$3\r\nDEL\r\n$${'9'.repeat(30)}\r\n`,
        '\u00ff',
        '*1\r\n*1\r\n$1\r\na\r\n',
      ]),
    );
  return Buffer.from(array(chance.of(choices)));
}
