/** How far a replica says that it is behind, by a clock that the test holds. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { Link } from '../../src/node/link/link.ts';
import type { LinkContext } from '../../src/node/link/link-context.ts';
import { Tally } from '../../src/node/ports/counts.ts';
import { StorageError } from '../../src/node/ports/failures.ts';
import type { SocketEvents, StreamSocket } from '../../src/node/ports/stream-socket.ts';
import { SessionOutput } from '../../src/node/session/session-output.ts';
import { type Offset, offset } from '../../src/replication/position.ts';
import type { Run } from '../../src/stream/command.ts';
import { runId } from '../support/arbitraries.ts';
import { FakeWorld, MIB } from '../support/feed-stage.ts';
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

  ping(text: string): void {
    this.#socket.pinged(text);
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

test('a replica whose link is too slow is behind until it has what the master tells, and counts from when that was told', async () => {
  const stage = new Stage();
  stage.stream();
  await stage.idle(HOUR_MS);
  stage.send(SET);
  await stage.world.settle();
  stage.ping(`LAG ${3 * SET.length} 0`);
  stage.world.ms += 3_000;
  assert.deepEqual(stage.link.lag, { seconds: 3, bytes: 3 * SET.length });
  stage.send(SET);
  await stage.world.settle();
  stage.ping(`LAG ${3 * SET.length} 0`);
  stage.world.ms += 1_000;
  assert.equal(stage.seconds, 4);
  stage.send(SET + SET);
  await stage.world.settle();
  assert.deepEqual(stage.link.lag, { seconds: 4, bytes: SET.length }, 'the second goal counts');
  stage.world.ms += 1_000;
  assert.equal(stage.seconds, 5);
  stage.send(SET);
  await stage.world.settle();
  assert.deepEqual(stage.link.lag, { seconds: 0, bytes: 0 });
  await stage.link.stop();
});

test('a replica of a replica adds the lag of the node above it, and a cut does not make it younger', async () => {
  const stage = new Stage();
  stage.stream();
  stage.ping('LAG 0 30000');
  assert.equal(stage.seconds, 30);
  stage.world.ms += 5_000;
  assert.equal(stage.seconds, 35);
  stage.ping('LAG 0 36000');
  assert.equal(stage.seconds, 36);
  stage.cut();
  await stage.world.settle();
  assert.equal(stage.seconds, 36);
  await stage.world.pass(1_000);
  stage.stream();
  stage.ping('LAG 0 -');
  assert.equal(stage.seconds, null);
  stage.ping('LAG 0 0');
  assert.equal(stage.seconds, 0);
  await stage.link.stop();
});

test('a ping frame that tells no lag well changes nothing', async () => {
  const stage = new Stage();
  stage.stream();
  for (const text of [
    '',
    'LAG',
    'LAG -1 0',
    'LAG 1',
    'LAG 1 0 ',
    'LAG 1e3 0',
    `LAG ${'9'.repeat(16)} 0`,
    'LAG - 0',
  ]) {
    stage.ping(text);
    assert.deepEqual(stage.link.lag, { seconds: 0, bytes: 0 }, text);
  }
  await stage.link.stop();
});

/** The output to one replica whose socket the test holds. */
class Output {
  readonly world = new FakeWorld();
  readonly sent: string[] = [];
  readonly head = {
    offset: 0,
    backlog: { size: 0 },
    pin: () => () => undefined,
    read: (from: number, max: number) => Buffer.alloc(Math.min(max, this.head.offset - from)),
  };
  readonly socket = {
    bufferedBytes: 0,
    send: (bytes: Buffer, sent: () => void): void => {
      this.socket.bufferedBytes += bytes.length;
      this.#waiting.push(sent);
      if (this.sent.at(-1) !== 'bytes') this.sent.push('bytes');
    },
    ping: (text: string): void => {
      this.sent.push(text);
    },
  };
  lagMs: number | null = 0;
  readonly output: SessionOutput;
  #waiting: (() => void)[] = [];

  constructor() {
    const MANY = Number.MAX_SAFE_INTEGER;
    this.output = new SessionOutput({
      world: this.world,
      head: this.head,
      settings: { outputLimitBytes: MANY, outputSoftBytes: MANY, outputSoftMs: MANY },
      socket: this.socket,
      lagMs: () => this.lagMs,
      close: (_code: number, detail: string) => assert.fail(detail),
      journalNotRead: (error: Error) => assert.fail(error),
      mistaken: (error: unknown) => assert.fail(String(error)),
    } as unknown as ConstructorParameters<typeof SessionOutput>[0]);
  }

  /** The replica takes everything that its socket has. */
  take(): void {
    const waiting = this.#waiting;
    this.#waiting = [];
    this.socket.bufferedBytes = 0;
    for (const sent of waiting) sent();
  }
}

test('a master tells a replica what it lacks before the stream begins, and while its socket is full, once a second at most', async () => {
  const stage = new Output();
  const { head, output, sent, world } = stage;
  const told = (): string[] => sent.filter((text) => text.startsWith('LAG'));
  head.offset = 4 * MIB;
  output.goOnline(0 as Offset, { inJournal: null, onDisk: null });
  assert.deepEqual(sent.slice(0, 2), [`LAG ${4 * MIB} 0`, 'bytes']);
  world.ms += 1_000;
  await world.settle();
  stage.take();
  assert.equal(told().length, 1, 'the pong to the first one has not come');
  output.answered();
  stage.take();
  assert.deepEqual(told().slice(1), [`LAG ${MIB} 0`]);
  output.answered();
  head.offset += 4 * MIB;
  stage.take();
  assert.equal(told().length, 2, 'less than a second has passed');
});

test('a replica that has everything is told so once, and one that never lacked anything is told nothing', () => {
  const stage = new Output();
  stage.output.goOnline(0 as Offset, { inJournal: null, onDisk: null });
  stage.output.answered();
  assert.equal(stage.output.lagText(), '');
  stage.lagMs = 7_000;
  assert.equal(stage.output.lookMs, Number.POSITIVE_INFINITY);
  assert.equal(stage.output.lagText(), 'LAG 0 7000');
  assert.equal(stage.output.lookMs, 1_000, 'the replica hears of a change soon');
  assert.equal(stage.output.lagText(), '');
  stage.output.answered();
  stage.lagMs = null;
  assert.equal(stage.output.lagText(), 'LAG 0 -');
  stage.output.answered();
  stage.lagMs = 0;
  assert.equal(stage.output.lagText(), 'LAG 0 0');
  stage.output.answered();
  assert.equal(stage.output.lagText(), '');
});
