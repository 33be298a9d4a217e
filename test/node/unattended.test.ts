/** Errors that nobody expects: whatever throws in a link or a session costs that connection, never the process. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { Link } from '../../src/node/link/link.ts';
import type { LinkContext } from '../../src/node/link/link-context.ts';
import { Tally } from '../../src/node/ports/counts.ts';
import type { SocketEvents, StreamSocket } from '../../src/node/ports/stream-socket.ts';
import type { Log } from '../../src/node/ports/world.ts';
import { attempt, ownedSocketEvents, ownedWorld, unattended } from '../../src/node/unattended.ts';
import { runId } from '../support/arbitraries.ts';
import { FakeWorld } from '../support/feed-stage.ts';

const MISTAKE = new TypeError('a mistake of the test');

function fail(): never {
  throw MISTAKE;
}

test('errors of callbacks, socket handlers and unawaited promises reach the part that owns them', async () => {
  const heard: unknown[] = [];
  const owner = (error: unknown): unknown => heard.push(error);
  const world = new FakeWorld();
  const owned = ownedWorld(world, owner);
  owned.soon(fail);
  owned.after(5, fail);
  await world.pass(5);
  const events = ownedSocketEvents({ message: fail, alive: fail, pinged: fail, closed: fail }, owner);
  events.message(Buffer.alloc(0));
  events.alive();
  events.pinged('');
  events.closed(1006, '');
  attempt(fail, owner);
  unattended(Promise.reject(MISTAKE), owner);
  await Promise.resolve();
  assert.deepEqual(heard, Array(8).fill(MISTAKE));
});

interface Dialled {
  readonly events: SocketEvents & { opened(): void };
  terminated: boolean;
}

/** A link over sockets that the test holds; each member of `broken` throws. */
function stage(broken: Partial<LinkContext>): {
  readonly link: Link;
  readonly world: FakeWorld;
  readonly dialled: Dialled[];
  readonly logged: string[];
  /** The members `detail` of what was logged. */
  readonly details: unknown[];
} {
  const world = new FakeWorld();
  const dialled: Dialled[] = [];
  const logged: string[] = [];
  const details: unknown[] = [];
  const note: Log['warn'] = (event, fields) => {
    logged.push(event);
    details.push(fields?.detail);
  };
  const log: Log = { debug: () => undefined, info: note, warn: note, error: note };
  const context = {
    world,
    log,
    head: { offset: 0, full: false, commit: () => undefined, whenRoom: () => undefined },
    settings: { timeoutMs: 60_000, pingIntervalMs: 10_000 },
    counts: { failures: new Tally(), resyncs: new Tally() },
    nodeId: 'n',
    listeningUrl: () => null,
    dial: (url: string, events: Dialled['events']): StreamSocket => {
      const socket: Dialled = { events, terminated: false };
      dialled.push(socket);
      return {
        peer: url,
        bufferedBytes: 0,
        send: () => undefined,
        ping: () => undefined,
        pause: () => undefined,
        resume: () => undefined,
        close: () => undefined,
        terminate: () => {
          socket.terminated = true;
        },
      };
    },
    request: () => ({
      position: { runId: runId('a'), offset: 0 },
      hash: null,
      listeningUrl: null,
      nodeId: 'n',
      keyspaceSchema: 1,
      failover: false,
    }),
    continued: () => undefined,
    files: { receive: () => Promise.reject(MISTAKE) },
    adoption: { objection: () => Promise.resolve(null), adopt: () => Promise.resolve() },
    streaming: () => undefined,
    refused: () => undefined,
    ask: () => Promise.resolve(null),
    ...broken,
  } as unknown as LinkContext;
  return { link: new Link(context, 'ws://master:1'), world, dialled, logged, details };
}

/** Long enough for a link to dial again, and too short for it to notice silence. */
const DIAL_AGAIN_MS = 10_000;

const SET = '*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1\r\nv\r\n';
const BROKEN: readonly (readonly [what: string, broken: Partial<LinkContext>])[] = [
  ['the master’s answer', { continued: fail }],
  ['its going online', { streaming: fail }],
  ['a commit', { head: { offset: 0, commit: fail } as unknown as LinkContext['head'] }],
  ['what stands above the master', { ask: () => Promise.reject(MISTAKE) }],
];

for (const [what, broken] of BROKEN) {
  test(`a link that throws during ${what} logs it, and dials again afterwards`, async () => {
    const { link, world, dialled, logged } = stage(broken);
    link.start();
    dialled[0]?.events.opened();
    for (const line of ['+PONG\r\n', '+OK\r\n', `+CONTINUE ${runId('a')}\r\n`, SET]) {
      dialled[0]?.events.message(Buffer.from(line));
    }
    await world.settle();
    await world.pass(DIAL_AGAIN_MS);
    assert.ok(logged.includes('unexpected-error'), logged.join());
    if (what === 'what stands above the master') assert.equal(link.streaming, true);
    else assert.deepEqual([dialled[0]?.terminated, dialled.length > 1], [true, true]);
    await link.stop();
  });
}

test('a link whose dialler throws tries again, and only the log has the words of the error', async () => {
  const { link, world, logged, details } = stage({ dial: fail });
  link.start();
  await world.pass(DIAL_AGAIN_MS);
  assert.match(link.status.detail ?? '', /^cannot dial: the log of the node says more/);
  assert.ok(logged.includes('link-down'));
  assert.ok(details.includes('cannot dial: TypeError: a mistake of the test'), details.join());
  assert.ok(world.timers > 0);
  await link.stop();
});
