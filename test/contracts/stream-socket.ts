/** What `StreamSocket` promises, for WebSockets and for the fake ones of the simulation. */
import assert from 'node:assert/strict';
import test, { type TestContext } from 'node:test';
import { until } from '../../src/cli/until.ts';
import type { SocketEvents, StreamSocket } from '../../src/node/ports/stream-socket.ts';

/** One end of a connection, and what it has told. */
export class End implements SocketEvents {
  /** All bytes that have come; sockets may cut and join messages anywhere. */
  received = '';
  readonly pings: string[] = [];
  pongs = 0;
  /** Each call of `closed`. */
  readonly closes: (readonly [code: number, reason: string])[] = [];
  isOpen = false;
  socket: StreamSocket | null = null;

  opened(): void {
    this.isOpen = true;
  }

  message(bytes: Buffer): void {
    assert.deepEqual(this.closes, [], 'something came after the end');
    this.received += bytes.toString('latin1');
  }

  alive(): void {
    assert.deepEqual(this.closes, [], 'something came after the end');
    this.pongs += 1;
  }

  pinged(text: string): void {
    assert.deepEqual(this.closes, [], 'something came after the end');
    this.pings.push(text);
  }

  closed(code: number, reason: string): void {
    this.closes.push([code, reason]);
  }
}

export interface OpenEnd extends End {
  readonly socket: StreamSocket;
}

/** Two ends that are connected, and told so. */
export interface Connected {
  readonly dialer: OpenEnd;
  readonly server: OpenEnd;
}

export interface SocketPlace {
  connect(): Promise<Connected>;
  /** Dials where nobody listens. */
  dialNobody(): OpenEnd;
}

/** How much is sent to a peer that reads nothing: more than an operating system takes. */
const FLOOD_BYTES = 16 * 1024 * 1024;
const FLOOD_MESSAGE_BYTES = 256 * 1024;
/** So many pings are sent to a peer that answers none. */
const MANY_PINGS = 100;
/** A peer ends a connection that has more pings than this at once. */
const MOST_PINGS = 60;
const ABNORMAL = 1006;
const OVER = 4_400;

export function describeStreamSocket(name: string, make: (t: TestContext) => Promise<SocketPlace>): void {
  const promise = (what: string, check: (place: SocketPlace) => Promise<void>): void => {
    test(`${name}: ${what}`, async (t) => {
      await check(await make(t));
    });
  };

  promise(
    'bytes arrive in order in both directions, and each message is told when it was taken',
    async (place) => {
      const { dialer, server } = await place.connect();
      let sent = '';
      let taken = 0;
      for (let index = 0; index < 200; index += 1) {
        const text = `${index} `.repeat(1 + (index % 40));
        sent += text;
        for (const { socket } of [dialer, server]) {
          socket.send(Buffer.from(text), () => {
            taken += 1;
          });
        }
      }
      await until(
        'all bytes have come',
        () => server.received.length + dialer.received.length === 2 * sent.length,
      );
      assert.equal(server.received, sent);
      assert.equal(dialer.received, sent);
      await until('all messages were taken', () => taken === 400);
      await until(
        'nothing is buffered',
        () => dialer.socket.bufferedBytes + server.socket.bufferedBytes === 0,
      );
    },
  );

  promise('the sender may use its buffer again once the message was taken', async (place) => {
    const { dialer, server } = await place.connect();
    const bytes = Buffer.from('first');
    let isTaken = false;
    dialer.socket.send(bytes, () => {
      isTaken = true;
    });
    await until('the message was taken', () => isTaken);
    bytes.fill('x');
    await until('the message has come', () => server.received.length > 0);
    assert.equal(server.received, 'first');
  });

  promise('a ping comes after what was sent before it, with its text, and is answered', async (place) => {
    const { dialer, server } = await place.connect();
    let before = '';
    server.pinged = (text) => {
      before = server.received;
      server.pings.push(text);
    };
    dialer.socket.send(Buffer.from('before'));
    dialer.socket.ping('position 17');
    dialer.socket.send(Buffer.from(' after'));
    await until('the ping is answered', () => dialer.pongs === 1);
    assert.deepEqual(server.pings, ['position 17']);
    assert.ok(before.startsWith('before'));
    await until('everything has come', () => server.received === 'before after');
  });

  promise('a peer that reads nothing gets few pings without text, however many are sent', async (place) => {
    const { dialer, server } = await place.connect();
    server.socket.pause();
    for (let index = 0; index < MANY_PINGS; index += 1) dialer.socket.ping();
    server.socket.resume();
    dialer.socket.ping('last');
    await until('the last ping has come', () => server.pings.at(-1) === 'last');
    assert.ok(server.pings.length > 1 && server.pings.length < MOST_PINGS, `${server.pings.length} pings`);
    await until('all pings are answered', () => dialer.pongs === server.pings.length);
    dialer.socket.ping();
    await until(
      'the next ping is answered',
      () => dialer.pongs === server.pings.length && server.pings.at(-1) === '',
    );
  });

  promise('a paused socket reads nothing, so the sender buffers, until it resumes', async (place) => {
    const { dialer, server } = await place.connect();
    server.socket.pause();
    server.socket.pause();
    const message = Buffer.alloc(FLOOD_MESSAGE_BYTES, 'x');
    for (let sent = 0; sent < FLOOD_BYTES; sent += message.length) dialer.socket.send(message);
    server.socket.send(Buffer.from('back'));
    await until('the other direction goes on', () => dialer.received === 'back');
    assert.ok(dialer.socket.bufferedBytes > 0);
    assert.equal(server.received, '');
    server.socket.resume();
    await until('all bytes have come', () => server.received.length === FLOOD_BYTES);
    await until('nothing is buffered', () => dialer.socket.bufferedBytes === 0);
  });

  promise(
    'a close comes after what was sent, and both ends are told its code and reason once',
    async (place) => {
      const { dialer, server } = await place.connect();
      dialer.socket.send(Buffer.from('last words'));
      dialer.socket.close(OVER, 'it is over');
      dialer.socket.close(OVER + 1, 'again');
      await until('both ends are told', () => dialer.closes.length + server.closes.length === 2);
      assert.deepEqual([dialer.closes, server.closes], [[[OVER, 'it is over']], [[OVER, 'it is over']]]);
      assert.equal(server.received, 'last words');
    },
  );

  promise('a close of a paused socket is told to both ends', async (place) => {
    const { dialer, server } = await place.connect();
    server.socket.pause();
    server.socket.close(OVER, 'paused');
    await until('both ends are told', () => dialer.closes.length + server.closes.length === 2);
    assert.deepEqual([dialer.closes, server.closes], [[[OVER, 'paused']], [[OVER, 'paused']]]);
  });

  promise('what is sent after the end is told as taken and goes nowhere', async (place) => {
    const { dialer, server } = await place.connect();
    dialer.socket.close(OVER, 'over');
    const taken: string[] = [];
    dialer.socket.send(Buffer.from('closing'), () => taken.push('closing'));
    dialer.socket.ping('closing');
    await until('both ends are told', () => dialer.closes.length + server.closes.length === 2);
    dialer.socket.send(Buffer.from('closed'), () => taken.push('closed'));
    dialer.socket.ping('closed');
    dialer.socket.pause();
    dialer.socket.resume();
    dialer.socket.terminate();
    await until('both are told as taken', () => taken.length === 2);
    assert.deepEqual(taken, ['closing', 'closed']);
    assert.deepEqual([server.received, server.pings], ['', []]);
    assert.equal(dialer.closes.length, 1);
  });

  promise('a socket whose peer does not answer a close goes away by itself', async (place) => {
    const { dialer, server } = await place.connect();
    server.socket.pause();
    dialer.socket.close(OVER, 'no answer');
    await until('the end is told', () => dialer.closes.length === 1);
    server.socket.resume();
    await until('the other end is told', () => server.closes.length === 1);
  });

  promise('a terminated connection ends for both, without a close code', async (place) => {
    const { dialer, server } = await place.connect();
    dialer.socket.terminate();
    dialer.socket.terminate();
    await until('both ends are told', () => dialer.closes.length + server.closes.length === 2);
    assert.deepEqual([dialer.closes[0]?.[0], server.closes[0]?.[0]], [ABNORMAL, ABNORMAL]);
  });

  promise('where nobody listens, the dialler is told the end and never that it is open', async (place) => {
    const end = place.dialNobody();
    await until('the end is told', () => end.closes.length === 1);
    assert.deepEqual([end.isOpen, end.closes[0]?.[0]], [false, ABNORMAL]);
  });

  promise('a connection that is closed before it is open ends without a close code', async (place) => {
    const end = place.dialNobody();
    end.socket.close(OVER, 'early');
    await until('the end is told', () => end.closes.length === 1);
    assert.deepEqual([end.isOpen, end.closes[0]?.[0]], [false, ABNORMAL]);
  });

  promise('nothing can be sent before the connection is open', async (place) => {
    const end = place.dialNobody();
    assert.throws(() => end.socket.send(Buffer.from('early')));
    end.socket.ping('early');
    await until('the end is told', () => end.closes.length === 1);
  });
}
