/**
 * A replica's connection to its master, again and again: when it is dialled, and what is told of it.
 *
 *   connecting ─► handshake ─► (snapshot ─►) streaming ─► waiting ─► connecting …
 */
import {
  damageRetryDelayMs,
  guardRetryDelayMs,
  MAX_RETRY_MS,
  retryDelayMs,
  schemaRetryDelayMs,
} from '../../replication/backoff.ts';
import { msSince } from '../elapsed.ts';
import type { World } from '../ports.ts';
import { logUnexpected, messageOf, ownedWorld, unattended } from '../unattended.ts';
import { chainProblem } from './chain.ts';
import { LinkAttempt } from './link-attempt.ts';
import type { AttemptEnd, LinkContext, LinkState, SyncReport } from './link-context.ts';

export interface LinkStatus {
  readonly url: string;
  /** Under which URL the master wants to be reached by clients, if it has told. */
  readonly announcedUrl?: string;
  readonly state: LinkState;
  /** What went wrong last, while it is not streaming. */
  readonly detail?: string;
  readonly lastSync?: SyncReport;
  /** While a snapshot arrives. */
  readonly progress?: { readonly received: number; readonly total: number };
  /** When anything was last heard of the master. */
  readonly lastIoAgeMs?: number;
  /** How long it has not been streaming. */
  readonly downMs?: number;
  /** A full resync would replace this node's data by nothing, and waits until somebody accepts that. */
  readonly guarded?: true;
}

/** While a link stays down for the same reason the log says so this often. */
const TELL_EVERY_MS = 60_000;
export class Link {
  readonly url: string;
  readonly #context: LinkContext;
  readonly #world: World;
  #state: LinkState = 'connecting';
  #announcedUrl: string | null = null;
  #detail: string | null = null;
  #lastSync: SyncReport | null = null;
  #failures = 0;
  #toldAt = Number.NEGATIVE_INFINITY;
  #attempt: LinkAttempt | null = null;
  #cancelRetry: (() => void) | null = null;
  #stopped = false;
  /** Since when it has not been streaming, on the monotonic clock. */
  #downSince: number | null;
  #guarded = false;
  /** Snapshots in a row that this node has refused in order to keep what it has. */
  #refusals = 0;
  /** Whether the chain above has been looked at since this node follows that master. */
  #chainSeen = false;
  /** Somebody has accepted that the next full resync replaces this node's data, whatever it brings. */
  #accepted = false;
  /** So many have come one after the other. */
  #damagedSnapshots = 0;

  constructor(context: LinkContext, url: string) {
    this.#context = context;
    this.#world = ownedWorld(context.world, (error) => this.#mistaken(error));
    this.url = url;
    this.#downSince = context.world.monotonic();
  }

  start(): void {
    this.#dial();
  }

  /** Where clients reach the master: as it announces, or else where this node has dialled it. */
  get masterUrl(): string {
    return this.#announcedUrl ?? this.url;
  }

  get streaming(): boolean {
    return this.#state === 'streaming';
  }

  /** A full resync was objected to, and waits. */
  get guarded(): boolean {
    return this.#guarded;
  }

  /** Asks a master again whose full resync was objected to: it may have another history now. */
  askAgain(): void {
    if (!this.#guarded || this.#attempt !== null) return;
    this.#cancelRetry?.();
    this.#dial();
  }

  /** Lets a full resync happen that was objected to. @returns false if none was */
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
    try {
      this.#attempt = this.#newAttempt();
    } catch (error) {
      // Nothing was dialled, for one because the stored URL is none.
      this.#ended({ kind: 'lost', detail: `cannot dial: ${messageOf(error)}` });
    }
  }

  #newAttempt(): LinkAttempt {
    const attempt: LinkAttempt = new LinkAttempt(this.#context, this.url, {
      state: (state) => {
        this.#state = state;
        if (state !== 'streaming') return;
        this.#detail = null;
        this.#downSince = null;
        this.#accepted = false;
        this.#guarded = false;
        this.#refusals = 0;
        this.#context.streaming();
        // Of two nodes that were told at the same moment to follow each other's replicas neither could see it before.
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
    });
    return attempt;
  }

  #ended(end: AttemptEnd): void {
    if (this.#stopped) return;
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

  /** Keeps what this node has, and asks the master again later: it may have its own data back by then. */
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

  #failed({ kind, detail }: AttemptEnd): void {
    const isSchema = kind === 'other-schema';
    const state = kind === 'refused' || isSchema ? 'refused' : 'waiting';
    this.#guarded = false;
    const { log } = this.#context;
    const world = this.#world;
    const before = this.#detail;
    this.#down(state, detail);
    const delayMs = isSchema
      ? schemaRetryDelayMs(world.random())
      : // A refusal is no cut: the same is answered if it is asked again at once.
        retryDelayMs(state === 'refused' ? Math.max(1, this.#failures) : this.#failures, world.random());
    this.#failures += 1;
    const now = world.monotonic();
    if (detail !== before || now - this.#toldAt >= TELL_EVERY_MS) {
      log.warn('link-down', { url: this.url, detail, failures: this.#failures, retryMs: delayMs });
      this.#toldAt = now;
    }
    this.#cancelRetry = world.after(delayMs, () => this.#dial());
    // Of a hand-over it is no answer: that node may well be the master now.
    if (state === 'refused' && !isSchema) this.#context.refused(detail);
    if (kind === 'no-master-link') this.#lookAtChain();
  }

  /** Of who is the master a damaged snapshot says nothing: a hand-over is not refused by it. */
  #refusedSnapshot(detail: string): void {
    this.#down('refused', detail);
    this.#damagedSnapshots += 1;
    const retryMs = damageRetryDelayMs(this.#damagedSnapshots, this.#world.random());
    this.#context.log.error('snapshot-damaged', { url: this.url, detail, retryMs });
    this.#cancelRetry = this.#world.after(retryMs, () => this.#dial());
  }

  #down(state: 'waiting' | 'refused', detail: string): void {
    this.#attempt = null;
    this.#state = state;
    this.#detail = detail;
    this.#downSince ??= this.#world.monotonic();
  }

  /** A master that has no link itself may be waiting for this very node. */
  #lookAtChain(): void {
    const { ask, nodeId } = this.#context;
    const looked = chainProblem(this.url, nodeId, ask, this.#world).then((problem) => {
      if (problem === null || this.#stopped) return;
      this.#chainSeen = false;
      if (this.#attempt === null) this.#down('refused', problem.detail);
      else this.#attempt.refuse(problem.detail);
    });
    unattended(looked, (error) => this.#mistaken(error));
  }

  /** An error that nobody expects costs this connection at most: the link is tried again. */
  #mistaken(error: unknown): void {
    logUnexpected(this.#context.log, `link to ${this.url}`, error);
    if (this.#stopped || this.#attempt !== null) return;
    this.#cancelRetry?.();
    this.#cancelRetry = this.#world.after(MAX_RETRY_MS, () => this.#dial());
  }
}
