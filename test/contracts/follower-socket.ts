/** What `FollowerSocket` promises, for WebSockets, HTTP answers and the fake connections of the simulation. */
import assert from 'node:assert/strict';
import test, { type TestContext } from 'node:test';
import { until } from '../../src/cli/until.ts';
import type { FollowerEvents, FollowerSocket } from '../../src/node/ports/follower-socket.ts';
import { CloseCode } from '../../src/replication/close-code.ts';

/** What a socket has told its node. */
export class Told implements FollowerEvents {
  drains = 0;
  pongs = 0;
  closes = 0;

  drained(): void {
    assert.equal(this.closes, 0, 'something came after the end');
    this.drains += 1;
  }

  alive(): void {
    assert.equal(this.closes, 0, 'something came after the end');
    this.pongs += 1;
  }

  closed(): void {
    this.closes += 1;
  }
}

/** The connection of one follower, seen from both sides. */
export interface Followed {
  readonly socket: FollowerSocket;
  readonly told: Told;
  /** Messages that have come to the follower, as JSON. */
  readonly received: readonly string[];
  /** The follower stops and restarts reading, if it can. */
  pause(): void;
  resume(): void;
  /** The follower disconnects. */
  leave(): void;
}

/** Length of a message with which a socket is filled, and the most that is sent to fill it. */
const LONG_LENGTH = 256 * 1024;
const MOST_MESSAGES = 256;

export function describeFollowerSocket(name: string, connect: (t: TestContext) => Promise<Followed>): void {
  const promise = (what: string, check: (followed: Followed) => Promise<void>): void => {
    test(`${name}: ${what}`, async (t) => {
      const followed = await connect(t);
      await check(followed);
      followed.leave();
      await until('the end is told', () => followed.told.closes > 0);
      assert.equal(followed.told.closes, 1, 'the end is told once');
    });
  };

  promise(
    'messages arrive whole and in order, several of them in one buffer too',
    async ({ socket, received }) => {
      const messages = Array.from({ length: 100 }, (_, index) =>
        JSON.stringify({ index, text: 'é'.repeat(index) }),
      );
      for (const message of messages.slice(0, 50)) send(socket, message);
      send(socket, ...messages.slice(50));
      await until('all messages have come', () => received.length === messages.length);
      assert.deepEqual(received, messages);
    },
  );

  promise('what the follower does not take is counted, and its taking is told', async (followed) => {
    const { socket, told, received } = followed;
    followed.pause();
    let sent = 0;
    while (socket.bufferedBytes === 0 && sent < MOST_MESSAGES) {
      send(socket, JSON.stringify('x'.repeat(LONG_LENGTH)));
      sent += 1;
    }
    assert.ok(socket.bufferedBytes > 0);
    followed.resume();
    await until('it is told that everything was taken', () => told.drains > 0 && socket.bufferedBytes === 0);
    await until('all messages have come', () => received.length === sent);
  });

  promise(
    'the end comes after what was sent, and nothing comes after the end',
    async ({ socket, told, received }) => {
      send(socket, '"last"');
      socket.close(CloseCode.done, 'over');
      send(socket, '"too late"');
      await until('the end is told', () => told.closes > 0);
      // The node may be told of the end before the follower has read what came before it.
      await until('the last message has come', () => received.length > 0);
      send(socket, '"much too late"');
      socket.ping();
      socket.terminate();
      assert.deepEqual(received, ['"last"']);
    },
  );

  promise(
    'a terminated connection is told as closed, although the follower reads nothing',
    async (followed) => {
      followed.pause();
      send(followed.socket, '"lost"');
      followed.socket.terminate();
      await until('the end is told', () => followed.told.closes > 0);
    },
  );

  promise('a follower that disconnects is told as closed', async ({ socket, told, leave }) => {
    leave();
    await until('the end is told', () => told.closes > 0);
    send(socket, '"to nobody"');
    socket.terminate();
  });

  promise('a ping is answered if the socket says so', async ({ socket, told, received }) => {
    socket.ping();
    send(socket, '"after the ping"');
    await until('the message after the ping has come', () => received.length === 1);
    if (socket.answersPings) await until('the ping is answered', () => told.pongs === 1);
    else assert.equal(told.pongs, 0);
    assert.notEqual(socket.peer, '');
  });
}

function send(socket: FollowerSocket, ...messages: readonly string[]): void {
  socket.send(Buffer.concat(messages.map((message) => socket.framing(message, null))));
}
