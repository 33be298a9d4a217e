/**
 * A machine: a disk that stays, a clock that may be wrong, and on it one life of a node after the other.
 *
 * What `app.ts` and `store/data-folder.ts` do with the real parts this does with the fake ones.
 */
import type { Entry } from '../../src/keyspace/entry.ts';
import { Node, type NodeSettings } from '../../src/node/node.ts';
import { StorageError } from '../../src/node/ports/failures.ts';
import type { Keyspace } from '../../src/node/ports/keyspace.ts';
import { NO_TOKEN } from '../../src/node/ports/peers.ts';
import type { SnapshotFiles } from '../../src/node/ports/snapshot-files.ts';
import type { Log } from '../../src/node/ports/world.ts';
import { Problem } from '../../src/node/problem.ts';
import { newHistory } from '../../src/replication/history.ts';
import { EMPTY_HISTORY_HASH } from '../../src/replication/history-hash.ts';
import {
  formatPosition,
  type Offset,
  type Position,
  type RunId,
  ZERO,
} from '../../src/replication/position.ts';
import type { FsyncPolicy } from '../../src/store/state/state-settings.ts';
import { type Backup, restoreInto } from './backups.ts';
import type { Chance } from './chance.ts';
import { Disk, type FolderCopy } from './disk.ts';
import type { EventLoop } from './event-loop.ts';
import { FakeFiles } from './fake-files.ts';
import { FakeState } from './fake-state.ts';
import type { Network } from './network.ts';
import { Crashed, type DiskPoint, Process } from './process.ts';
import type { Referee } from './referee.ts';
import type { Trace } from './trace.ts';

export type CrashKind = 'process' | 'power';

/** Nobody downloads snapshots here. */
const NO_COPIES: SnapshotFiles = {
  freeBytes: () => Promise.resolve(Number.POSITIVE_INFINITY),
  copy: () => {
    throw new Error('the simulation has no downloads');
  },
  clear: () => Promise.resolve(),
};

/** The node's settings, which may change while it runs. */
export type Settings = { -readonly [K in keyof NodeSettings]: NodeSettings[K] };

/** At the next change of this kind the process ends, or the machine. */
export interface ArmedCrash {
  readonly point: DiskPoint;
  readonly when: 'before' | 'after';
  readonly kind: CrashKind;
}

export interface MachineParts {
  readonly loop: EventLoop;
  readonly network: Network;
  readonly referee: Referee;
  readonly trace: Trace;
  readonly chance: Chance;
  /** The machine has no process any more. */
  down(machine: Machine): void;
}

/** What a full disk takes all the same: it needs no room. */
const NEEDS_NO_ROOM: ReadonlySet<DiskPoint> = new Set<DiskPoint>(['keep', 'remove']);

export class Machine {
  readonly name: string;
  readonly url: string;
  readonly disk: Disk;
  readonly settings: Settings;
  readonly #parts: MachineParts;
  readonly #knowsBoot: boolean;
  #life: { readonly process: Process; node: Node | null } | null = null;
  #stopping = false;
  fsync: FsyncPolicy;
  /** How wrong its clock is. */
  #skewMs = 0;
  #armed: ArmedCrash | null = null;
  /** The next change of the disk fails. */
  #failsOnce = false;
  /** Operators that wait for a promotion. */
  promotions = 0;
  /** Where this life of the node began. */
  began: Position | null = null;
  /** The power was cut, and not all that was written was on disk. */
  mayHaveLost = false;

  constructor(name: string, settings: Settings, fsync: FsyncPolicy, knowsBoot: boolean, parts: MachineParts) {
    this.name = name;
    this.url = `ws://${name}:7796`;
    this.settings = settings;
    this.fsync = fsync;
    this.#knowsBoot = knowsBoot;
    this.#parts = parts;
    this.disk = new Disk(
      {
        history: newHistory(parts.chance.hex(40) as RunId),
        upstream: null,
        handingOver: false,
        guardedAgainst: null,
        keyspaceNumber: 0,
        clean: true,
        boot: null,
        fsync,
        kept: [],
        file: null,
        toldHash: null,
        renamedAt: null,
      },
      parts.chance.hex(8),
    );
    // A copy of a folder in which no node has begun is no copy of a history.
    this.disk.putRow({ file: this.disk.file });
  }

  get node(): Node | null {
    return this.#life?.node ?? null;
  }

  /** The node, as long as it takes requests. */
  get serving(): Node | null {
    return this.#stopping ? null : this.node;
  }

  /** The node, if connections reach it. */
  get reached(): { readonly process: Process; readonly node: Node } | null {
    const life = this.#life;
    return life === null || life.node === null ? null : { process: life.process, node: life.node };
  }

  /** What the node has, expired or not; null: it is just ending. */
  async everything(): Promise<ReadonlyMap<string, Entry> | null> {
    const { reached } = this;
    if (reached === null || this.#stopping) return null;
    const request = { prefix: '', after: null, limit: 10_000, values: true };
    const { entries } = await reached.process.timeless(() => reached.node.page(request));
    return new Map(
      entries.map(({ key, value, version, expiresAt }) => [
        key,
        { value: value as Buffer, version, expiresAt },
      ]),
    );
  }

  /** @param replicaOf as on the command line; null: what it was */
  async start(replicaOf: string | null): Promise<void> {
    if (this.#life !== null) return;
    const { loop, chance, referee } = this.#parts;
    const process = new Process(
      loop,
      chance.fork(),
      () => this.#skewMs,
      (point, when) => this.#point(point, when),
    );
    const life: { process: Process; node: Node | null } = { process, node: null };
    this.#life = life;
    this.#stopping = false;
    this.#note('starts');
    try {
      const boot = this.#knowsBoot ? this.disk.boot : null;
      const state = new FakeState(this.disk, process, this.#watcher(), this.fsync, boot);
      const files = new FakeFiles(this.disk, process, (what) => referee.blame(`${this.name}: ${what}`));
      for (const kept of state.kept) await files.keep(kept);
      await files.removeAllBut(state.keyspaceNumber);
      const there = state.kept.findIndex(({ name }) => this.disk.kept.has(name));
      state.forgetKept(there === -1 ? 0 : state.kept.length - there);
      if (state.keyspaceNumber === 0) this.#makeKeyspace(state);
      this.began = this.disk.position;
      const keyspace: Keyspace = await files.open(state.keyspaceNumber);
      const { network } = this.#parts;
      const ports = { dial: network.dial(this, process), ask: network.ask(this, process) };
      life.node = new Node({
        world: process,
        log: this.#log(),
        settings: this.settings,
        state,
        keyspace,
        files,
        copies: NO_COPIES,
        ...ports,
        ownToken: NO_TOKEN,
        askDigest: () => Promise.resolve({ code: 'BAD_PEER', detail: 'is not asked here' }),
        failed: (error) => {
          // In a crash it ends, whatever it thinks.
          if (process.alive) referee.blame(`${this.name} cannot go on: ${error.message}`);
        },
      });
      await life.node.start(this.url, replicaOf);
      this.#note(`is up, ${life.node.role} at ${formatPosition(life.node.position)}`);
    } catch (error) {
      if (error instanceof Crashed) return;
      if (!(error instanceof StorageError) && !(error instanceof Problem)) throw error;
      this.#note(`does not start: ${error.message}`);
      this.#ended(false);
    }
  }

  arm(crash: ArmedCrash): void {
    this.#armed = crash;
  }

  failOnce(): void {
    this.#failsOnce = true;
  }

  /** Nothing that was prepared happens any more. */
  disarm(): void {
    this.#armed = null;
    this.#failsOnce = false;
  }

  /** Somebody sets the clock: so much forward, or backward. */
  setClock(byMs: number): void {
    this.#skewMs += byMs;
    this.#note(`has its clock set by ${byMs} ms`);
  }

  /** `kill -9`, or the power is cut. */
  crash(kind: CrashKind): void {
    if (this.#life === null) return;
    let lost = 0;
    if (kind === 'power') {
      lost = this.disk.cutPower(this.#parts.chance);
      if (this.disk.row.fsync !== 'always') this.mayHaveLost = true;
    }
    this.#note(`crashes (${kind}${lost > 0 ? `, ${lost} transactions lost` : ''})`);
    this.#parts.trace.count(`crash ${kind}${lost > 0 ? ' with loss' : ''}`);
    this.#ended(kind === 'power');
  }

  /** An operator, or a restored machine, puts a copy of a folder in the place of this one's. @param noticed as another file */
  putBack(copy: FolderCopy, noticed: boolean): void {
    if (this.#life !== null) return;
    this.disk.putBack(copy);
    if (noticed) this.disk.becomeCopy();
    this.#parts.referee.restored(this, noticed);
    this.mayHaveLost = false;
    this.#note(`gets an older folder${noticed ? '' : ', in place'}: ${formatPosition(this.disk.position)}`);
    this.#parts.trace.count(`folder ${noticed ? 'restored' : 'rolled back in place'}`);
  }

  /** `psyncd restore` has made the folder of a backup. @param runId new one of the node */
  restore(backup: Backup, runId: RunId): void {
    if (this.#life !== null) return;
    restoreInto(this.disk, backup, runId);
    this.#parts.referee.restoredBackup(this);
    this.mayHaveLost = false;
    this.#note(`has a backup restored, of ${formatPosition(backup.position)}, hash ${backup.hash !== null}`);
    this.#parts.trace.count('backup restored');
  }

  /** Stops as it should. */
  async stop(): Promise<void> {
    const life = this.#life;
    if (life === null || life.node === null || this.#stopping) return;
    this.#stopping = true;
    this.#note('stops');
    try {
      await life.node.waitForOthers();
      await life.node.close();
    } catch (error) {
      // The mark of a clean end was not written: the process ends all the same.
      if (!(error instanceof StorageError)) throw error;
    }
    if (this.#life === life) this.#ended(false);
  }

  #ended(withPower: boolean): void {
    const life = this.#life;
    this.#life = null;
    life?.process.end();
    this.#armed = null;
    this.promotions = 0;
    this.#parts.network.ended(this, withPower);
    this.#parts.down(this);
  }

  #makeKeyspace(state: FakeState): void {
    this.disk.files.set(1, { position: { runId: state.history.runId, offset: ZERO }, entries: new Map() });
    state.switchKeyspace(1, state.history, null, { offset: ZERO, hash: EMPTY_HISTORY_HASH });
  }

  #point(point: DiskPoint, when: 'before' | 'after'): void {
    const armed = this.#armed;
    if (armed !== null && armed.point === point && armed.when === when) {
      this.#note(`is to crash ${when} ${point}`);
      this.crash(armed.kind);
      throw new Crashed();
    }
    if (when === 'after') return;
    if (this.disk.isFull && !NEEDS_NO_ROOM.has(point)) {
      this.#parts.trace.count(`disk full at ${point}`);
      throw new StorageError('no space left on the device', true);
    }
    if (!this.#failsOnce) return;
    this.#failsOnce = false;
    this.#parts.trace.count(`I/O error at ${point}`);
    throw new StorageError('EIO: i/o error', false);
  }

  #watcher(): ConstructorParameters<typeof FakeState>[2] {
    const { referee } = this.#parts;
    return {
      appended: (from, bytes) => referee.disks.appended(this, from, bytes),
      saving: (change) => referee.disks.saving(this, change),
      switching: (number, history, keep) => referee.disks.switching(this, number, history, keep),
    };
  }

  #log(): Log {
    const tell = (event: string, fields: Readonly<Record<string, unknown>> = {}): void => {
      this.#note(`${event} ${JSON.stringify(fields)}`);
      const why = typeof fields.reason === 'string' ? fields.reason.replace(/\d+/g, 'N') : '';
      this.#parts.trace.count(`${event} ${why}`.trim());
      if (isMistake(event, String(fields.error)))
        this.#parts.referee.blame(`${this.name} ${event}: ${fields.error ?? fields.detail}`);
      // Sessions note what they have decided at the moment when they do.
      if (fields.session === undefined || this.node === null) return;
      const { runId, asked, bytes } = fields as { runId?: RunId; asked?: number; bytes?: number };
      const has = runId === undefined ? null : { runId, offset: ((asked as number) - 1) as Offset };
      if (event === 'full-resync') {
        const reason = fields.reason as 'first-sync';
        this.#parts.referee.resyncs.decided(this, this.node.status, has, { kind: 'full-resync', reason });
      } else if (event === 'partial-resync' && has !== null) {
        const decision = { kind: 'continue', after: has.offset, bytes: bytes as number } as const;
        this.#parts.referee.resyncs.decided(this, this.node.status, has, decision);
      }
    };
    return { debug: () => undefined, info: tell, warn: tell, error: tell };
  }

  #note(text: string): void {
    this.#parts.trace.note(this.#parts.loop.now, `${this.name} ${text}`);
  }
}

/** The node has noticed an error that no disk and no network explains, and has gone on. */
function isMistake(event: string, error: string): boolean {
  // A crash is thrown out of a port like an error that nobody expects.
  if (event === 'unexpected-error') return !error.startsWith('Crashed');
  // Disks fail here, and damage nothing: a master that sends a damaged snapshot has made it itself.
  if (event === 'snapshot-damaged') return true;
  return /\b(NotInJournal|RangeError|TypeError|ReferenceError)\b/.test(error);
}
