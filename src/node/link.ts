/**
 * A replica's side of the connection to its master: `LinkMachine`'s effects carried out, again and again.
 *
 *   connecting ─► handshake ─► (snapshot ─►) streaming ─► waiting ─► connecting …
 *
 * What is received goes through the same `StreamHead.commit` as a master's own writes: it is acknowledged when it
 * is in this node's journal. The old data is served until a snapshot has arrived completely and was checked.
 */
import { retryDelayMs } from '../replication/backoff.ts';
import { CloseCode } from '../replication/close-code.ts';
import type { FullResyncReason } from '../replication/decide.ts';
import { type LinkEffect, LinkMachine } from '../replication/link-machine.ts';
import type { Position, RunId } from '../replication/position.ts';
import type { Run } from '../stream/command.ts';
import { StreamDecoder } from '../stream/decoder.ts';
import { array } from '../stream/encoder.ts';
import { ProtocolError } from '../stream/protocol-error.ts';
import {
  type Dial,
  type Log,
  type SnapshotSink,
  StorageError,
  type StreamSocket,
  type World,
} from './ports.ts';
import type { LinkTimes } from './session.ts';
import type { StreamHead } from './stream-head.ts';

export type LinkState = 'connecting' | 'handshake' | 'snapshot' | 'streaming' | 'waiting' | 'refused';

export interface SyncReport {
  readonly kind: 'full' | 'partial';
  readonly reason: FullResyncReason | null;
  /** The snapshot's size. Of a partial resync only the master knows (`replicas[].sync.bytes`): null. */
  readonly bytes: number | null;
  readonly durationMs: number;
}

export interface LinkStatus {
  readonly url: string;
  readonly state: LinkState;
  /** What went wrong last, while it is not streaming. */
  readonly detail?: string;
  readonly lastSync?: SyncReport;
  /** While a snapshot arrives. */
  readonly progress?: { readonly received: number; readonly total: number };
  /** When anything was last heard of the master. */
  readonly lastIoAgeMs?: number;
}

export interface LinkContext {
  readonly world: World;
  readonly log: Log;
  readonly head: StreamHead;
  readonly dial: Dial;
  readonly settings: LinkTimes;
  readonly nodeId: string;
  /** Where this node can be reached itself. */
  listeningUrl(): string | null;
  /** What to continue from, or null to ask for a snapshot. */
  position(): Position | null;
  /** The master goes on with this history under a new run ID. */
  continued(runId: RunId): void;
  receiveSnapshot(length: number): Promise<SnapshotSink>;
  /** The snapshot was received and checked: it takes over, if `wanted` still says so when it is open. */
  adoptSnapshot(keyspaceNumber: number, position: Position, wanted: () => boolean): Promise<void>;
}

/** How often a replica tells its master how far it is (psync-rules.md, 45). */
const ACK_INTERVAL_MS = 1_000;
/** While a link stays down for the same reason the log says so this often. */
const TELL_EVERY_MS = 60_000;
/** While so much of a snapshot waits to be written, no more is read from the socket. */
const MAX_UNWRITTEN_BYTES = 8 * 1024 * 1024;

export class Link {
  readonly url: string;
  readonly #context: LinkContext;
  #state: LinkState = 'connecting';
  #detail: string | null = null;
  #lastSync: SyncReport | null = null;
  #failures = 0;
  #toldAt = 0;
  #attempt: Attempt | null = null;
  #cancelRetry: (() => void) | null = null;
  #stopped = false;

  constructor(context: LinkContext, url: string) {
    this.#context = context;
    this.url = url;
  }

  start(): void {
    this.#dial();
  }

  get streaming(): boolean {
    return this.#state === 'streaming';
  }

  get status(): LinkStatus {
    const progress = this.#attempt?.progress ?? null;
    const lastIoAgeMs = this.#attempt?.silentMs ?? null;
    return {
      url: this.url,
      state: this.#state,
      ...(this.#detail === null ? {} : { detail: this.#detail }),
      ...(this.#lastSync === null ? {} : { lastSync: this.#lastSync }),
      ...(progress === null ? {} : { progress }),
      ...(lastIoAgeMs === null ? {} : { lastIoAgeMs }),
    };
  }

  /** Ends the link; what was received and not yet complete is given up. */
  async stop(): Promise<void> {
    this.#stopped = true;
    this.#cancelRetry?.();
    const attempt = this.#attempt;
    this.#attempt = null;
    await attempt?.stop();
  }

  #dial(): void {
    this.#cancelRetry = null;
    this.#state = 'connecting';
    const attempt = new Attempt(this.#context, this.url, {
      state: (state) => {
        this.#state = state;
        if (state === 'streaming') this.#detail = null;
      },
      stable: () => {
        this.#failures = 0;
      },
      synced: (report) => {
        this.#lastSync = report;
      },
      failed: (state, detail) => {
        if (this.#attempt === attempt) this.#failed(state, detail);
      },
    });
    this.#attempt = attempt;
  }

  #failed(state: 'waiting' | 'refused', detail: string): void {
    if (this.#stopped) return;
    const { world, log } = this.#context;
    this.#attempt = null;
    this.#state = state;
    const delayMs = retryDelayMs(this.#failures, world.random());
    this.#failures += 1;
    const now = world.now();
    if (detail !== this.#detail || now - this.#toldAt >= TELL_EVERY_MS) {
      log.warn('link-down', { url: this.url, detail, failures: this.#failures, retryMs: delayMs });
      this.#toldAt = now;
    }
    this.#detail = detail;
    this.#cancelRetry = world.after(delayMs, () => this.#dial());
  }
}

interface AttemptEvents {
  state(state: LinkState): void;
  synced(report: SyncReport): void;
  /** It has been streaming for a while: the next connection may be tried at once. */
  stable(): void;
  /** The connection is gone. Called once; nothing follows. */
  failed(state: 'waiting' | 'refused', detail: string): void;
}

/** One connection, from dialling to its end. */
class Attempt {
  readonly #context: LinkContext;
  readonly #events: AttemptEvents;
  readonly #socket: StreamSocket;
  readonly #machine: LinkMachine;
  readonly #decoder = new StreamDecoder();
  readonly #startedAt: number;
  #lastHeardAt: number;
  #over = false;
  #cancelTick: (() => void) | null = null;
  #cancelAck: (() => void) | null = null;
  #received: Run[] = [];
  #turnDue = false;
  #snapshot: IncomingSnapshot | null = null;
  /** Resolves when nothing of a snapshot is in the way of the next attempt. */
  #snapshotGone: Promise<unknown> = Promise.resolve();
  /** Bytes of the stream that arrived while the snapshot was being checked. */
  #early: Buffer[] | null = null;

  constructor(context: LinkContext, url: string, events: AttemptEvents) {
    this.#context = context;
    this.#events = events;
    this.#startedAt = context.world.now();
    this.#lastHeardAt = this.#startedAt;
    this.#machine = new LinkMachine({
      position: context.position(),
      listeningUrl: context.listeningUrl(),
      nodeId: context.nodeId,
    });
    this.#socket = context.dial(url, {
      opened: () => {
        if (this.#over) return;
        this.alive();
        this.#events.state('handshake');
        this.#run(this.#machine.start());
      },
      message: (bytes) => {
        if (this.#over) return;
        this.alive();
        this.#run(this.#machine.receive(bytes));
      },
      alive: () => this.alive(),
      closed: (code, reason) => this.#fail('waiting', reason === '' ? `closed with ${code}` : reason),
    });
    this.#scheduleTick();
  }

  get progress(): { received: number; total: number } | null {
    return this.#snapshot === null
      ? null
      : { received: this.#snapshot.received, total: this.#snapshot.total };
  }

  get silentMs(): number {
    return Math.max(0, this.#context.world.now() - this.#lastHeardAt);
  }

  alive(): void {
    this.#lastHeardAt = this.#context.world.now();
  }

  async stop(): Promise<void> {
    if (!this.#over) {
      this.#commitReceived();
      this.#end();
      this.#socket.close(CloseCode.goingAway, 'going away');
    }
    await this.#snapshotGone;
  }

  #run(effects: readonly LinkEffect[]): void {
    try {
      this.#carryOut(effects);
    } catch (error) {
      if (!(error instanceof StorageError)) throw error;
      this.#abort(CloseCode.goingAway, `cannot go on: ${error.message}`);
    }
  }

  #carryOut(effects: readonly LinkEffect[]): void {
    for (const effect of effects) {
      if (this.#over) return;
      switch (effect.kind) {
        case 'send':
          this.#send(effect.words);
          break;
        case 'continue':
          this.#continue(effect.runId);
          break;
        case 'snapshot':
          this.#beginSnapshot(effect.position, effect.length, effect.reason);
          break;
        case 'snapshot-bytes':
          this.#snapshot?.write(effect.bytes);
          break;
        case 'snapshot-end':
          this.#endSnapshot();
          break;
        case 'stream':
          if (this.#early === null) this.#stream(effect.bytes);
          else this.#early.push(effect.bytes);
          break;
        case 'not-now':
          this.#fail(effect.detail.startsWith('ERR') ? 'refused' : 'waiting', effect.detail);
          break;
        case 'protocol-error':
          this.#abort(CloseCode.protocolError, effect.detail);
          break;
      }
    }
  }

  #continue(runId: RunId): void {
    const { world, log } = this.#context;
    this.#context.continued(runId);
    log.info('partial-resync', { url: this.#socket.peer, runId });
    this.#events.synced({
      kind: 'partial',
      reason: null,
      bytes: null,
      durationMs: world.now() - this.#startedAt,
    });
    this.#goStreaming();
  }

  #beginSnapshot(position: Position, length: number, reason: FullResyncReason | null): void {
    this.#context.log.info('full-resync', { url: this.#socket.peer, reason, bytes: length });
    this.#events.state('snapshot');
    this.#snapshot = new IncomingSnapshot({
      sink: this.#context.receiveSnapshot(length),
      position,
      reason,
      total: length,
      pause: () => this.#socket.pause(),
      resume: () => this.#socket.resume(),
      failed: (error) => this.#abort(CloseCode.goingAway, `cannot keep the snapshot: ${error.message}`),
    });
  }

  #endSnapshot(): void {
    this.#early = [];
    this.#socket.pause();
    const snapshot = this.#snapshot as IncomingSnapshot;
    const adopted = this.#adopt(snapshot);
    // Whoever ends this attempt waits until the adoption has come to its own end.
    this.#snapshotGone = adopted.catch(() => undefined);
    adopted
      .then((done) => {
        if (done) this.#adopted(snapshot);
      })
      .catch((error: unknown) => this.#abort(CloseCode.goingAway, `snapshot: ${messageOf(error)}`));
  }

  /** @returns whether the snapshot has taken over; if not, nothing is left of it */
  async #adopt(snapshot: IncomingSnapshot): Promise<boolean> {
    try {
      const keyspaceNumber = await snapshot.finish();
      if (this.#over) {
        await snapshot.discard();
        return false;
      }
      this.#snapshot = null;
      await this.#context.adoptSnapshot(keyspaceNumber, snapshot.position, () => !this.#over);
      return !this.#over;
    } catch (error) {
      await snapshot.discard();
      throw error;
    }
  }

  #adopted(snapshot: IncomingSnapshot): void {
    this.#events.synced({
      kind: 'full',
      reason: snapshot.reason,
      bytes: snapshot.total,
      durationMs: this.#context.world.now() - this.#startedAt,
    });
    this.#goStreaming();
    const early = this.#early ?? [];
    this.#early = null;
    this.#socket.resume();
    for (const bytes of early) if (!this.#over) this.#stream(bytes);
  }

  #goStreaming(): void {
    this.#events.state('streaming');
    this.#acknowledge();
  }

  #acknowledge(): void {
    this.#send(['REPLCONF', 'ACK', String(this.#context.head.offset)]);
    this.#cancelAck = this.#context.world.after(ACK_INTERVAL_MS, () => {
      this.#events.stable();
      this.#acknowledge();
    });
  }

  #stream(bytes: Buffer): void {
    try {
      const run = this.#decoder.push(bytes);
      if (run === null) return;
      this.#received.push(run);
    } catch (error) {
      if (!(error instanceof ProtocolError)) throw error;
      this.#abort(CloseCode.protocolError, error.message);
      return;
    }
    this.#scheduleTurn();
  }

  /** All that arrives in one tick becomes one journal row, like a master's write turn. */
  #scheduleTurn(): void {
    if (this.#turnDue) return;
    this.#turnDue = true;
    this.#context.world.soon(() => {
      this.#turnDue = false;
      this.#takeTurn();
    });
  }

  #takeTurn(): void {
    if (this.#over) return;
    const failure = this.#commitReceived();
    if (failure !== null) {
      this.#abort(CloseCode.goingAway, `cannot keep the stream: ${failure.message}`);
      return;
    }
    const { head } = this.#context;
    if (!head.full) return;
    this.#socket.pause();
    head.whenRoom(() => {
      if (!this.#over) this.#socket.resume();
    });
  }

  /** @returns why the journal did not take what was received, which then is given up; or null */
  #commitReceived(): StorageError | null {
    const received = this.#received;
    this.#received = [];
    if (received.length === 0) return null;
    try {
      this.#context.head.commit(merged(received));
      return null;
    } catch (error) {
      if (!(error instanceof StorageError)) throw error;
      return error;
    }
  }

  #send(words: readonly string[]): void {
    this.#socket.send(Buffer.from(array(words), 'utf8'));
  }

  #scheduleTick(): void {
    const { pingIntervalMs, timeoutMs } = this.#context.settings;
    this.#cancelTick = this.#context.world.after(Math.min(pingIntervalMs, timeoutMs / 2), () => this.#tick());
  }

  #tick(): void {
    const silentMs = this.silentMs;
    if (silentMs > this.#context.settings.timeoutMs) {
      this.#socket.terminate();
      this.#abort(CloseCode.timedOut, `the master was silent for ${silentMs} ms`);
      return;
    }
    this.#socket.ping();
    this.#scheduleTick();
  }

  #abort(code: number, detail: string): void {
    if (this.#over) return;
    this.#socket.close(code, detail.slice(0, 100));
    this.#fail('waiting', detail);
  }

  #fail(state: 'waiting' | 'refused', detail: string): void {
    if (this.#over) return;
    const failure = this.#commitReceived();
    this.#end();
    if (state === 'refused') this.#socket.close(CloseCode.goingAway, 'refused');
    // The next attempt begins when nothing is left of this one.
    void this.#snapshotGone.then(() =>
      this.#events.failed(state, failure === null ? detail : `${detail}; ${failure.message}`),
    );
  }

  #end(): void {
    this.#over = true;
    const snapshot = this.#snapshot;
    this.#snapshot = null;
    // While it is being adopted the adoption clears up after itself.
    if (snapshot !== null && this.#early === null) this.#snapshotGone = snapshot.discard();
    this.#cancelTick?.();
    this.#cancelAck?.();
  }
}

/** Writes a snapshot to its file while it arrives, with back-pressure. */
class IncomingSnapshot {
  readonly position: Position;
  readonly reason: FullResyncReason | null;
  readonly total: number;
  received = 0;
  readonly #sink: Promise<SnapshotSink>;
  readonly #pause: () => void;
  readonly #resume: () => void;
  readonly #failed: (error: Error) => void;
  /** All has come: the socket stays paused until the snapshot has taken over. */
  #complete = false;
  #unwrittenBytes = 0;
  #last: Promise<void>;
  #error: Error | null = null;

  constructor(parts: {
    sink: Promise<SnapshotSink>;
    position: Position;
    reason: FullResyncReason | null;
    total: number;
    pause: () => void;
    resume: () => void;
    failed: (error: Error) => void;
  }) {
    this.position = parts.position;
    this.reason = parts.reason;
    this.total = parts.total;
    this.#sink = parts.sink;
    this.#pause = parts.pause;
    this.#resume = parts.resume;
    this.#failed = parts.failed;
    this.#last = parts.sink.then(
      () => undefined,
      (error: unknown) => this.#hasFailed(error),
    );
  }

  write(bytes: Buffer): void {
    this.received += bytes.length;
    this.#unwrittenBytes += bytes.length;
    if (this.#unwrittenBytes > MAX_UNWRITTEN_BYTES) this.#pause();
    this.#last = this.#last
      .then(async () => {
        if (this.#error === null) await (await this.#sink).write(bytes);
      })
      .then(
        () => {
          this.#unwrittenBytes -= bytes.length;
          if (!this.#complete && this.#unwrittenBytes <= MAX_UNWRITTEN_BYTES / 2) this.#resume();
        },
        (error: unknown) => this.#hasFailed(error),
      );
  }

  /** @returns the n of its keyspace file, which was checked */
  async finish(): Promise<number> {
    this.#complete = true;
    await this.#last;
    if (this.#error !== null) throw this.#error;
    const sink = await this.#sink;
    await sink.finish(this.position);
    return sink.keyspaceNumber;
  }

  async discard(): Promise<void> {
    await this.#last;
    // If there is no sink, there is nothing to discard, and its error was told already.
    const sink = await this.#sink.catch(() => null);
    await sink?.discard();
  }

  #hasFailed(error: unknown): void {
    if (this.#error !== null) return;
    this.#error = error instanceof Error ? error : new Error(String(error));
    this.#failed(this.#error);
  }
}

function merged(runs: readonly Run[]): Run {
  const first = runs[0] as Run;
  if (runs.length === 1) return first;
  let base = 0;
  const ends: number[] = [];
  for (const run of runs) {
    for (const end of run.ends) ends.push(base + end);
    base += run.bytes.length;
  }
  return {
    bytes: Buffer.concat(runs.map((run) => run.bytes)),
    commands: runs.flatMap((run) => run.commands),
    ends,
  };
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
