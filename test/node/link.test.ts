/** A link over a socket that the test holds: how it ends its connections. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { Link } from '../../src/node/link/link.ts';
import type { LinkContext } from '../../src/node/link/link-context.ts';
import { Tally } from '../../src/node/ports/counts.ts';
import type { Peer } from '../../src/node/ports/peers.ts';
import type { SocketEvents, StreamSocket } from '../../src/node/ports/stream-socket.ts';
import { offset } from '../../src/replication/position.ts';
import { runId } from '../support/arbitraries.ts';

/**
 * A link that has dialled, the events of its socket, and the codes with which it closed the socket.
 * @param parts of the context that the test replaces
 */
function stage(parts: Partial<LinkContext> = {}): {
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
    ...parts,
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

test('a node that refuses its master because of a circle does not take that for a refusal by the master', async () => {
  const refusals: string[] = [];
  const retries: (() => void)[] = [];
  const answers: ((peer: Peer) => void)[] = [];
  const nothing = (): void => undefined;
  const world = {
    monotonic: () => 0,
    random: () => 0,
    soon: nothing,
    after: (_delayMs: number, callback: () => void) => {
      retries.push(callback);
      return nothing;
    },
  } as unknown as LinkContext['world'];
  const ask = (): Promise<Peer> => new Promise((resolve) => answers.push(resolve));
  const refused = (detail: string): void => void refusals.push(detail);
  const { link, events } = stage({ world, ask, refused, listeningUrl: () => 'ws://this:1' });
  for (const line of ['+PONG', '+OK', "-NOMASTERLINK Can't SYNC while not connected with my master"])
    events.message(Buffer.from(`${line}\r\n`));
  await new Promise((resolve) => setImmediate(resolve));
  // It has dialled again when it hears that the master follows it, or did so some time ago.
  retries.at(-1)?.();
  assert.equal(link.status.state, 'connecting');
  answers[0]?.({ nodeId: 'm', upstream: 'ws://this:1' });
  await new Promise((resolve) => setImmediate(resolve));
  assert.equal(link.status.state, 'refused');
  assert.match(link.status.detail ?? '', /circle/);
  assert.deepEqual(refusals, []);
  await link.stop();
});
