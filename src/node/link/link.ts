/**
 * A replica's link to its master: one connection after the other, the pauses between them, and the state that users see.
 *
 *   connecting ─► handshake ─► (snapshot ─►) streaming ─► waiting or refused ─► connecting …
 */
import {
  damageRetryDelayMs,
  guardRetryDelayMs,
  MAX_RETRY_MS,
  retryDelayMs,
  schemaRetryDelayMs,
} from '../../replication/backoff.ts';
import { msSince } from '../elapsed.ts';
import type { World } from '../ports/world.ts';
import { logUnexpected, ownedWorld, unattended } from '../unattended.ts';
import { chainProblem } from './chain.ts';
import { KeptSnapshot, type KeptStatus } from './kept-snapshot.ts';
import { LagClock } from './lag-clock.ts';
import { LinkAttempt } from './link-attempt.ts';
import type { AttemptEnd, AttemptEvents, Lag, LinkContext, LinkState, SyncReport } from './link-context.ts';
import { notDialled } from './link-context.ts';

export interface LinkStatus extends KeptStatus {
  readonly url: string;
  /** URL under which clients reach the master, if it announces one. */
  readonly announcedUrl?: string;
  readonly state: LinkState;
  /** Last problem, while the link does not stream. */
  readonly detail?: string;
  readonly lastSync?: SyncReport;
  /** Bytes of the snapshot, while this node receives or checks one. */
  readonly progress?: { readonly received: number; readonly total: number };
  /** Milliseconds since this node last heard of the master. */
  readonly lastIoAgeMs?: number;
  /** Milliseconds since the link last streamed, while it does not. */
  readonly downMs?: number;
  /** Present while this node refuses a full resync that would replace its data by nothing, until a user accepts it. */
  readonly guarded?: true;
  /** Present while this node asks the other one to become the master: the ID of its process; null: not known yet. */
  readonly handsOverTo?: string | null;
}

/** Intervals of pings without a sign of the master after which this node no longer counts as up to date. */
const SILENT_PINGS = 2;
/** Time between two lines of the log about a link that stays down for the same reason. */
const TELL_EVERY_MS = 60_000;
/** Time after which a streaming link looks again at a chain of masters of which a node has not said whom it follows. */
const LOOK_AGAIN_MS = 10_000;

export class Link {
  readonly url: string;
  readonly #context: LinkContext;
  readonly #world: World;
  #state: LinkState = 'connecting';
  #announcedUrl: string | null = null;
  #detail: string | null = null;
  #lastSync: SyncReport | null = null;
  /** Connections in a row that brought nothing. */
  #failures = 0;
  /** Moment of the monotonic clock at which the log last said that the link is down. */
  #toldAt = Number.NEGATIVE_INFINITY;
  #attempt: LinkAttempt | null = null;
  #cancelRetry: (() => void) | null = null;
  #stopped = false;
  /** Moment of the monotonic clock since which the link does not stream; null: it streams. */
  #downSince: number | null;
  /** When this node last had everything that the master had. */
  readonly #lagClock: LagClock;
  /** Whether this node has refused the last full resync in order to keep its data. */
  #guarded = false;
  /** Snapshots in a row that this node has refused in order to keep its data. */
  #refusals = 0;
  /** Whether this node has checked the chain of masters above it since the link began. */
  #chainSeen = false;
  /** The last warning about a chain that a node on it does not tell; null: there was none. */
  #unknownChain: string | null = null;
  #cancelLook: (() => void) | null = null;
  /** Whether a user has allowed the next full resync, whatever it brings. */
  #accepted = false;
  /** Damaged snapshots in a row. */
  #damagedSnapshots = 0;
  /** The part of a snapshot that the connections have brought so far. */
  readonly #kept: KeptSnapshot;

  constructor(context: LinkContext, url: string) {
    this.#context = context;
    this.#world = ownedWorld(context.world, (error) => this.#mistaken(error));
    this.#kept = new KeptSnapshot(this.#world, context.log);
    this.url = url;
    this.#lagClock = new LagClock(context.world);
    this.#downSince = context.world.monotonic();
  }

  /** Dials the master. */
  start(): void {
    this.#dial();
  }

  /** URL under which clients reach the master: the one that it announces, or else the one that this node dials. */
  get masterUrl(): string {
    return this.#announcedUrl ?? this.url;
  }

  /** Whether this node receives the master's writes. */
  get streaming(): boolean {
    return this.#state === 'streaming';
  }

  /** Whether this node has refused the last full resync in order to keep its data. */
  get guarded(): boolean {
    return this.#guarded;
  }

  /** Asks a master again whose full resync this node has refused: it may have another history now. */
  askAgain(): void {
    if (!this.#guarded || this.#attempt !== null) return;
    this.#cancelRetry?.();
    this.#dial();
  }

  /** Allows the full resync that this node has refused. @returns false if it has refused none */
  accept(): boolean {
    if (!this.#guarded) return false;
    this.#accepted = true;
    this.#detail = null;
    this.#failures = 0;
    this.askAgain();
    return true;
  }

  get status(): LinkStatus {
    const progress = this.#attempt?.progress ?? null;
    const lastIoAgeMs = this.#attempt?.silentMs ?? null;
    return {
      url: this.url,
      ...(this.#announcedUrl === null ? {} : { announcedUrl: this.#announcedUrl }),
      state: this.#state,
      ...(this.#detail === null ? {} : { detail: this.#detail }),
      ...(this.#lastSync === null ? {} : { lastSync: this.#lastSync }),
      ...(progress === null ? {} : { progress }),
      ...(lastIoAgeMs === null ? {} : { lastIoAgeMs }),
      ...(this.#downSince === null ? {} : { downMs: msSince(this.#world, this.#downSince) }),
      ...(this.#guarded ? { guarded: true } : {}),
      ...this.#kept.status,
    };
  }

  /**
   * How far this node may be behind its master: the seconds count from when it last had everything that the master had. A master that is
   * alive answers pings, so a connection on which nothing has come for two intervals of them counts as cut.
   */
  get lag(): Lag {
    const { settings } = this.#context;
    const attempt = this.#attempt;
    if (this.#state !== 'streaming' || attempt === null) {
      return { seconds: this.#secondsBehind, bytes: null };
    }
    const { isPaused, silentMs } = attempt;
    const bytes = this.#lagClock.lacking(this.#context.head.offset);
    const isSilent = silentMs > SILENT_PINGS * settings.pingIntervalMs;
    const seconds =
      isPaused || this.#lagClock.isBehind ? this.#secondsBehind : isSilent ? silentMs / 1_000 : 0;
    const { aboveMs } = this.#lagClock;
    return { seconds: seconds === null || aboveMs === null ? null : seconds + aboveMs / 1_000, bytes };
  }

  /** Seconds since this node last had everything that the master had; null: it never had. */
  get #secondsBehind(): number | null {
    const { currentAt } = this.#lagClock;
    return currentAt === null ? null : msSince(this.#world, currentAt) / 1_000;
  }

  /** Ends the link, and gives up a snapshot that has not taken over. */
  async stop(): Promise<void> {
    this.#stopped = true;
    this.#cancelRetry?.();
    this.#cancelLook?.();
    const attempt = this.#attempt;
    this.#attempt = null;
    await attempt?.stop();
    await this.#kept.drop();
  }

  #dial(): void {
    this.#cancelRetry = null;
    this.#state = 'connecting';
    try {
      this.#attempt = this.#newAttempt();
    } catch (error) {
      this.#ended(notDialled(error));
    }
  }

  #newAttempt(): LinkAttempt {
    const events: AttemptEvents = {
      state: (state) => {
        this.#state = state;
        this.#context.log.debug('link-state', { url: this.url, state });
        if (state !== 'streaming') return;
        this.#detail = null;
        this.#downSince = null;
        this.#accepted = false;
        this.#guarded = false;
        this.#refusals = 0;
        this.#context.streaming();
        // If two nodes begin to follow each other's replicas at the same moment, neither can see the circle before.
        if (!this.#chainSeen) this.#lookAtChain();
        this.#chainSeen = true;
      },
      accepted: () => this.#accepted,
      stable: () => {
        this.#failures = 0;
      },
      announced: (url) => {
        this.#announcedUrl = url;
      },
      synced: (report) => {
        this.#lastSync = report;
        this.#context.counts.resyncs.add(report.reason ?? 'partial');
        this.#damagedSnapshots = 0;
      },
      lost: (detail) => {
        if (this.#attempt !== attempt) return;
        this.#detail = `${detail}; the snapshot had come and is being checked`;
        this.#context.log.warn('link-lost-while-checking', { url: this.url, detail });
      },
      ended: (end) => {
        if (this.#attempt === attempt) this.#ended(end);
      },
    };
    const attempt = new LinkAttempt(this.#context, this.url, events, {
      kept: this.#kept,
      lagClock: this.#lagClock,
    });
    return attempt;
  }

  #ended(end: AttemptEnd): void {
    if (this.#stopped) return;
    this.#context.counts.failures.add(end.kind);
    switch (end.kind) {
      case 'guarded':
        this.#guard(end.detail);
        break;
      case 'damaged':
        this.#refusedSnapshot(end.detail);
        break;
      default:
        this.#failed(end);
    }
  }

  /** Keeps the data of this node, and asks the master again later: by then it may have its own data back. */
  #guard(detail: string): void {
    const isNew = !this.#guarded;
    this.#guarded = true;
    this.#refusals += 1;
    this.#down('refused', detail);
    const { log, settings } = this.#context;
    const retryMs = guardRetryDelayMs(this.#refusals, settings.timeoutMs, this.#world.random());
    if (isNew) log.warn('full-resync-guarded', { url: this.url, detail, retryMs });
    this.#cancelRetry = this.#world.after(retryMs, () => this.#dial());
  }

  #failed({ kind, detail, byThisNode, inLog = detail }: AttemptEnd): void {
    const isSchema = kind === 'other-schema';
    const isNamed = kind === 'unauthorized' || kind === 'tls';
    const state = isNamed ? kind : kind === 'refused' || isSchema ? 'refused' : 'waiting';
    this.#guarded = false;
    const { log } = this.#context;
    const world = this.#world;
    const before = this.#detail;
    this.#down(state, detail);
    const delayMs = isSchema
      ? schemaRetryDelayMs(world.random())
      : // The master would give the same answer if this node asked again at once.
        retryDelayMs(state === 'waiting' ? this.#failures : Math.max(1, this.#failures), world.random());
    this.#failures += 1;
    const now = world.monotonic();
    if (detail !== before || now - this.#toldAt >= TELL_EVERY_MS) {
      log.warn('link-down', { url: this.url, detail: inLog, failures: this.#failures, retryMs: delayMs });
      this.#toldAt = now;
    }
    this.#cancelRetry = world.after(delayMs, () => this.#dial());
    // A refusal because of the schema does not answer a hand-over: that node may well be the master now. So may one that this node refuses.
    if (state === 'refused' && !isSchema && byThisNode !== true) this.#context.refused(detail);
    if (kind === 'no-master-link') this.#lookAtChain();
  }

  /** Asks for another snapshot later. A damaged one says nothing about who is the master, so it does not answer a hand-over. */
  #refusedSnapshot(detail: string): void {
    this.#down('refused', detail);
    this.#damagedSnapshots += 1;
    const retryMs = damageRetryDelayMs(this.#damagedSnapshots, this.#world.random());
    this.#context.log.error('snapshot-damaged', { url: this.url, detail, retryMs });
    this.#cancelRetry = this.#world.after(retryMs, () => this.#dial());
  }

  #down(state: 'waiting' | 'refused' | 'unauthorized' | 'tls', detail: string): void {
    const attempt = this.#attempt;
    // A node that does not read has not heard what the master has written since then.
    if (this.#state === 'streaming' && attempt !== null && !attempt.isPaused) {
      this.#lagClock.over(this.#world.monotonic() - attempt.silentMs);
    }
    this.#attempt = null;
    this.#state = state;
    this.#detail = detail;
    this.#downSince ??= this.#world.monotonic();
  }

  /** Checks the chain of masters above this node: a master without a link may be waiting for this very node. */
  #lookAtChain(): void {
    const { ask, nodeId } = this.#context;
    const end = { ask, nodeId, world: this.#world, listeningUrl: this.#context.listeningUrl() };
    const looked = chainProblem(this.url, end).then((problem) => {
      if (problem === null || this.#stopped) return;
      this.#chainSeen = false;
      if (problem.code === 'UNKNOWN') {
        this.#lookAgain(problem.detail);
        return;
      }
      if (this.#attempt === null) this.#down('refused', problem.detail);
      else this.#attempt.refuse(problem.detail);
    });
    unattended(looked, (error) => this.#mistaken(error));
  }

  /** Looks at the chain again later, because a node on it has not said whom it follows. */
  #lookAgain(detail: string): void {
    if (detail !== this.#unknownChain) this.#context.log.warn('chain-unknown', { url: this.url, detail });
    this.#unknownChain = detail;
    this.#cancelLook?.();
    this.#cancelLook = this.#world.after(LOOK_AGAIN_MS, () => {
      if (this.streaming) this.#lookAtChain();
    });
  }

  /** An error that nobody expects costs one connection at most: the link dials again. */
  #mistaken(error: unknown): void {
    logUnexpected(this.#context.log, `link to ${this.url}`, error);
    if (this.#stopped || this.#attempt !== null) return;
    this.#cancelRetry?.();
    this.#cancelRetry = this.#world.after(MAX_RETRY_MS, () => this.#dial());
  }
}
