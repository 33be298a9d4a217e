/** A link over a socket that the test holds: how it ends its connections. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { Link } from '../../src/node/link/link.ts';
import type { LinkContext } from '../../src/node/link/link-context.ts';
import { Tally } from '../../src/node/ports/counts.ts';
import type { SocketEvents, StreamSocket } from '../../src/node/ports/stream-socket.ts';
import { offset } from '../../src/replication/position.ts';
import { runId } from '../support/arbitraries.ts';

/** A link that has dialled, the events of its socket, and the codes with which it closed the socket. */
function stage(): {
  readonly link: Link;
  readonly events: SocketEvents & { opened(): void };
  readonly closed: number[];
} {
  const closed: number[] = [];
  const dialled: (SocketEvents & { opened(): void })[] = [];
  const nothing = (): void => undefined;
  const context = {
    world: { monotonic: () => 0, random: () => 0, after: () => nothing, soon: nothing },
    log: { debug: nothing, info: nothing, warn: nothing, error: nothing },
    head: { offset: 0, full: false },
    settings: { timeoutMs: 60_000, pingIntervalMs: 10_000 },
    counts: { failures: new Tally(), resyncs: new Tally() },
    nodeId: 'n',
    listeningUrl: () => null,
    ask: () => Promise.resolve(null),
    dial: (peer: string, events: SocketEvents & { opened(): void }): StreamSocket => {
      dialled.push(events);
      return {
        peer,
        bufferedBytes: 0,
        send: nothing,
        ping: nothing,
        pause: nothing,
        resume: nothing,
        close: (code) => closed.push(code),
        terminate: nothing,
      };
    },
    request: () => ({
      position: { runId: runId('a'), offset: offset(0) },
      hash: null,
      listeningUrl: null,
      nodeId: 'n',
      keyspaceSchema: 1,
      failover: false,
    }),
    refused: nothing,
  } as unknown as LinkContext;
  const link = new Link(context, 'ws://master:1');
  link.start();
  const [events] = dialled;
  assert.ok(events !== undefined);
  events.opened();
  return { link, events, closed };
}

for (const [error, state] of [
  ['ERR no', 'refused'],
  ['SCHEMA the master has 4', 'refused'],
  ["NOMASTERLINK Can't SYNC while not connected with my master", 'waiting'],
  ['LOADING', 'waiting'],
] as const) {
  test(`a replica hangs up on a master that answers -${error}, and its link is ${state}`, async () => {
    const { link, events, closed } = stage();
    for (const line of ['+PONG', '+OK', `-${error}`]) events.message(Buffer.from(`${line}\r\n`));
    await new Promise((resolve) => setImmediate(resolve));
    assert.deepEqual([link.status.state, link.status.detail], [state, error]);
    assert.equal(closed.length, 1);
    await link.stop();
  });
}
