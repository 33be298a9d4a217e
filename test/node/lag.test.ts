/** How far a replica says that it is behind, by a clock that the test holds. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { Link } from '../../src/node/link/link.ts';
import type { LinkContext } from '../../src/node/link/link-context.ts';
import { Tally } from '../../src/node/ports/counts.ts';
import { StorageError } from '../../src/node/ports/failures.ts';
import type { SocketEvents, StreamSocket } from '../../src/node/ports/stream-socket.ts';
import { offset } from '../../src/replication/position.ts';
import type { Run } from '../../src/stream/command.ts';
import { runId } from '../support/arbitraries.ts';
import { FakeWorld } from '../support/feed-stage.ts';
import { SILENT } from '../support/silent-log.ts';

const PING_MS = 10_000;
const HOUR_MS = 3_600_000;
const SET = '*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1\r\nv\r\n';

type Dialled = SocketEvents & { opened(): void };

class Stage {
  readonly world = new FakeWorld();
  readonly link: Link;
  /** The events of all sockets; the last one is the present one. */
  readonly dialled: Dialled[] = [];
  isFull = false;
  /** Whether the disk takes nothing more. */
  isDiskFull = false;
  #whenRoom: () => void = () => undefined;

  constructor() {
    const nothing = (): void => undefined;
    const head = {
      offset: 0,
      commit: ({ bytes }: Run) => {
        if (this.isDiskFull) throw new StorageError('the disk is full', true);
        head.offset += bytes.length;
      },
      whenRoom: (callback: () => void) => {
        this.#whenRoom = callback;
      },
    };
    Object.defineProperty(head, 'full', { get: () => this.isFull });
    const context = {
      world: this.world,
      log: SILENT,
      head,
      settings: { timeoutMs: 60_000, pingIntervalMs: PING_MS },
      counts: { failures: new Tally(), resyncs: new Tally() },
      nodeId: 'n',
      listeningUrl: () => null,
      ask: () => Promise.resolve(null),
      dial: (peer: string, events: Dialled): StreamSocket => {
        this.dialled.push(events);
        const socket = { send: nothing, pause: nothing, resume: nothing, close: nothing, terminate: nothing };
        return { ...socket, peer, bufferedBytes: 0, ping: nothing };
      },
      request: () => ({
        position: { runId: runId('a'), offset: offset(1) },
        hash: null,
        listeningUrl: null,
        nodeId: 'n',
        keyspaceSchema: 1,
        failover: false,
      }),
      continued: nothing,
      streaming: nothing,
      refused: nothing,
    } as unknown as LinkContext;
    this.link = new Link(context, 'ws://master:1');
    this.link.start();
  }

  get #socket(): Dialled {
    return this.dialled.at(-1) as Dialled;
  }

  /** The master lets the node continue. @param lacking words after the run ID: the number of bytes that the node lacks, and a lineage */
  stream(lacking = ''): void {
    this.#socket.opened();
    for (const line of ['+PONG', '+OK', `+CONTINUE ${runId('a')}${lacking}`]) this.send(`${line}\r\n`);
    assert.equal(this.link.status.state, 'streaming');
  }

  send(text: string): void {
    this.#socket.message(Buffer.from(text));
  }

  cut(): void {
    this.#socket.closed(1006, '');
  }

  /** Time passes while the master answers pings. */
  async idle(ms: number): Promise<void> {
    for (let passed = 0; passed < ms; passed += PING_MS) {
      await this.world.pass(PING_MS);
      this.#socket.alive();
    }
  }

  makeRoom(): void {
    this.isFull = false;
    this.#whenRoom();
  }

  get seconds(): number | null {
    return this.link.lag.seconds;
  }
}

test('a replica that hears of its master is not behind, even if nothing is written for an hour', async () => {
  const stage = new Stage();
  stage.stream();
  await stage.idle(HOUR_MS);
  assert.deepEqual(stage.link.lag, { seconds: 0, bytes: 0 });
  await stage.link.stop();
});

test('the lag grows from the cut on, and ends when the replica receives the stream again', async () => {
  const stage = new Stage();
  stage.stream();
  await stage.idle(HOUR_MS);
  stage.cut();
  await stage.world.settle();
  assert.equal(stage.seconds, 0);
  stage.world.ms += 5_000;
  assert.deepEqual(stage.link.lag, { seconds: 5, bytes: null });
  await stage.world.pass(1_000);
  assert.ok(stage.dialled.length > 1, 'the link has dialled again');
  assert.equal(stage.seconds, 6);
  stage.stream();
  assert.deepEqual(stage.link.lag, { seconds: 0, bytes: 0 });
  await stage.link.stop();
});

test('a master that falls silent on an open connection counts from its last sign of life, also when the link gives up', async () => {
  const stage = new Stage();
  stage.stream();
  await stage.idle(60_000);
  await stage.world.pass(2 * PING_MS);
  assert.equal(stage.seconds, 0);
  await stage.world.pass(1_000);
  assert.equal(stage.seconds, 21);
  await stage.world.pass(60_000);
  await stage.world.settle();
  assert.notEqual(stage.link.status.state, 'streaming');
  assert.equal(stage.seconds, 81);
  await stage.link.stop();
});

test('what has come and is not applied counts, and so does what a full replica does not read', async () => {
  const stage = new Stage();
  stage.stream();
  await stage.world.settle();
  stage.send(`*1\r\n$5\r\nMULTI\r\n${SET}`);
  await stage.world.settle();
  stage.world.ms += 3_000;
  assert.equal(stage.seconds, 3);
  assert.ok((stage.link.lag.bytes ?? 0) >= SET.length);
  stage.isFull = true;
  stage.send('*1\r\n$4\r\nEXEC\r\n');
  await stage.world.settle();
  assert.equal(stage.link.lag.bytes, 0);
  stage.world.ms += 4_000;
  assert.equal(stage.seconds, 4);
  stage.makeRoom();
  assert.equal(stage.seconds, 0);
  await stage.link.stop();
});

test('a replica that has never followed its master does not know how far behind it is', async () => {
  const stage = new Stage();
  stage.world.ms += 1_000;
  assert.deepEqual(stage.link.lag, { seconds: null, bytes: null });
  stage.cut();
  await stage.world.settle();
  assert.deepEqual(stage.link.lag, { seconds: null, bytes: null });
  await stage.link.stop();
});

test('a replica that comes back is behind until it has what the master has said that it lacks', async () => {
  const stage = new Stage();
  stage.stream();
  await stage.idle(HOUR_MS);
  stage.cut();
  await stage.world.settle();
  await stage.world.pass(60_000);
  stage.stream(` ${2 * SET.length} -`);
  assert.equal(stage.seconds, 60);
  stage.world.ms += 1_000;
  stage.send(SET);
  await stage.world.settle();
  assert.equal(stage.seconds, 61);
  stage.send(SET);
  await stage.world.settle();
  assert.deepEqual(stage.link.lag, { seconds: 0, bytes: 0 });
  await stage.link.stop();
});

test('a replica that started with a part of the stream does not know how far behind it is before it has caught up', async () => {
  const stage = new Stage();
  stage.stream(` ${SET.length} -`);
  assert.equal(stage.seconds, null);
  stage.send(SET);
  await stage.world.settle();
  assert.equal(stage.seconds, 0);
  await stage.link.stop();
});

test('a replica whose disk is full counts from when it last had everything, however often it connects again', async () => {
  const stage = new Stage();
  stage.stream();
  await stage.idle(HOUR_MS);
  stage.isDiskFull = true;
  const since = stage.world.ms;
  stage.send(SET);
  await stage.world.settle();
  for (let i = 0; i < 5; i += 1) {
    const before = stage.dialled.length;
    while (stage.dialled.length === before) await stage.world.pass(1_000);
    stage.stream(` ${SET.length} -`);
    assert.equal(stage.seconds, (stage.world.ms - since) / 1_000);
    stage.send(SET);
    await stage.world.settle();
    assert.equal(stage.seconds, (stage.world.ms - since) / 1_000);
  }
  await stage.link.stop();
});

test('a link that is cut while the replica catches up does not make the replica younger', async () => {
  const stage = new Stage();
  stage.stream();
  await stage.idle(HOUR_MS);
  const since = stage.world.ms;
  for (let i = 0; i < 5; i += 1) {
    const before = stage.dialled.length;
    stage.cut();
    while (stage.dialled.length === before) await stage.world.pass(1_000);
    stage.stream(` ${10 * SET.length} -`);
    stage.send(SET);
    await stage.world.settle();
  }
  assert.equal(stage.seconds, (stage.world.ms - since) / 1_000);
  await stage.link.stop();
});
