/**
 * Reports how large the backlog is and should be, and resizes it if the setting says so. It should hold the bytes that clients
 * write while a replica is away: the time that a replica may be away, times the highest write rate of the last ten minutes.
 * With `--backlog-size auto:120s` the keeper follows that rule between a floor and a ceiling. It enlarges the backlog at once,
 * and shrinks it when half of its size is enough.
 */
import type { FullResyncReason } from '../../replication/decide.ts';
import { offset } from '../../replication/position.ts';
import { backlogFor } from '../../replication/write-rate.ts';
import { inLogOf } from '../ports/failures.ts';
import type { Log, World } from '../ports/world.ts';
import type { JournalKeepSettings } from './journal-keep.ts';
import type { StreamHead } from './stream-head.ts';

/** An absence of a replica, from which it came back. */
export interface Outage {
  /** URL under which the replica says that other nodes reach it, or else the address of its connection. */
  readonly replica: string;
  /** Time of the return, in milliseconds since 1970. */
  readonly at: number;
  readonly awayMs: number;
  /** Bytes that clients wrote meanwhile. */
  readonly bytes: number;
  /** The kind of resync that brought the replica up to date. */
  readonly kind: 'partial' | 'full';
  readonly reason?: FullResyncReason;
}

export interface BacklogSettings extends JournalKeepSettings {
  /** The fixed size, if `backlogAwayMs` is null. */
  readonly backlogBytes: number;
  /** Milliseconds for which a replica may be away; the keeper sizes the backlog for them. null: the size is fixed. */
  readonly backlogAwayMs: number | null;
  /** Smallest size that the keeper chooses. */
  readonly backlogFloorBytes: number;
  /** Largest size that the keeper chooses. */
  readonly backlogCeilingBytes: number;
}

/** The answer of `GET /v1/replication/backlog`. */
export interface BacklogReport {
  readonly position: string;
  readonly size: number;
  readonly firstOffset: number;
  readonly length: number;
  /** null: the size is fixed. */
  readonly auto: { readonly awaySeconds: number; readonly floor: number; readonly ceiling: number } | null;
  /** Bytes written per second: now, and at the peak of the last ten minutes. */
  readonly rate: { readonly current: number; readonly peak: number };
  /** Seconds since the commit of the oldest byte in the backlog. */
  readonly historySeconds: number;
  /** Seconds for which a replica may be away at the peak rate; null: the peak rate is 0. */
  readonly coversSeconds: number | null;
  readonly outages: readonly Outage[];
  readonly advice: {
    readonly awaySeconds: number;
    readonly size: number;
    readonly enough: boolean;
    readonly text: string;
  };
}

/** Milliseconds between two looks at the size. */
const TICK_MS = 1_000;
/** The keeper chooses multiples of this size, so that a small change of the rate does not resize the backlog. */
const STEP_BYTES = 64 * 1024;
/** Absence for which the advice is, while no replica has been away. */
const DEFAULT_AWAY_SECONDS = 60;
/** Smallest size that the advice names: the smallest that `--backlog-size` accepts. */
const MIN_BYTES = 16 * 1024;

export class BacklogKeeper {
  readonly #world: World;
  readonly #log: Log;
  readonly #head: StreamHead;
  readonly #settings: BacklogSettings;
  #cancel: (() => void) | null = null;
  /** Size that the head is changing the backlog to; null: no change is under way. */
  #resizingTo: number | null = null;

  constructor(parts: { world: World; log: Log; head: StreamHead; settings: BacklogSettings }) {
    this.#world = parts.world;
    this.#log = parts.log;
    this.#head = parts.head;
    this.#settings = parts.settings;
  }

  start(): void {
    // The next tick is scheduled first, so that it comes even if this one throws.
    this.#cancel = this.#world.after(TICK_MS, () => this.start());
    this.adjust();
  }

  stop(): void {
    this.#cancel?.();
  }

  /** Resizes the backlog to the size that the settings ask for now. */
  adjust(): void {
    const { size } = this.#head.backlog;
    const wanted = this.#wanted();
    const { backlogAwayMs } = this.#settings;
    if (wanted === (this.#resizingTo ?? size)) return;
    if (
      backlogAwayMs !== null &&
      wanted < size &&
      wanted * 2 > size &&
      size <= this.#settings.backlogCeilingBytes
    )
      return;
    this.#resizingTo = wanted;
    this.#head.resizeBacklog(wanted).then(
      (done) => {
        if (this.#resizingTo === wanted) this.#resizingTo = null;
        if (done && wanted !== size) this.#log.info('backlog-resized', { before: size, after: wanted });
      },
      (error: unknown) => {
        if (this.#resizingTo === wanted) this.#resizingTo = null;
        // There was no memory, or the journal could not be read. The old backlog stays, and the next tick tries again.
        this.#log.warn('backlog-not-resized', { before: size, wanted, error: inLogOf(error) });
      },
    );
  }

  /**
   * @param position the node's position, for the report
   * @param outages the last outages, newest first
   * @param awaySeconds absence for which the advice is; null: the setting's, or else the longest of `outages`
   */
  report(position: string, outages: readonly Outage[], awaySeconds: number | null): BacklogReport {
    const { size, firstOffset, length } = this.#head.backlog;
    const { backlogAwayMs, backlogFloorBytes: floor, backlogCeilingBytes: ceiling } = this.#settings;
    const rate = this.#head.rates;
    const longest = Math.ceil(Math.max(0, ...outages.map(({ awayMs }) => awayMs)) / 1000);
    const away =
      awaySeconds ?? (backlogAwayMs === null ? longest || DEFAULT_AWAY_SECONDS : backlogAwayMs / 1000);
    const needed = Math.max(MIN_BYTES, rounded(backlogFor(away * 1000, rate.peak)));
    const kept = this.#keptBytes(away);
    return {
      position,
      size,
      firstOffset,
      length,
      auto: backlogAwayMs === null ? null : { awaySeconds: backlogAwayMs / 1000, floor, ceiling },
      rate: { current: Math.round(rate.current), peak: Math.round(rate.peak) },
      historySeconds: this.#head.lagMs(offset(firstOffset - 1)) / 1000,
      coversSeconds: rate.peak === 0 ? null : size / rate.peak,
      outages,
      advice: {
        awaySeconds: away,
        size: needed,
        enough: Math.max(size, kept) >= needed,
        text: advice(away, rate.peak, needed, size, kept),
      },
    };
  }

  /** @returns the bytes that the journal keeps for a replica that is away so long; 0: it does not keep them for so long */
  #keptBytes(awaySeconds: number): number {
    const { journalKeepBytes, journalKeepMs } = this.#settings;
    return journalKeepMs === null || awaySeconds * 1000 <= journalKeepMs ? journalKeepBytes : 0;
  }

  #wanted(): number {
    const { backlogBytes, backlogAwayMs, backlogFloorBytes, backlogCeilingBytes } = this.#settings;
    if (backlogAwayMs === null) return backlogBytes;
    const needed = rounded(backlogFor(backlogAwayMs, this.#head.rates.peak));
    return Math.max(backlogFloorBytes, Math.min(needed, Math.max(backlogFloorBytes, backlogCeilingBytes)));
  }
}

function rounded(bytes: number): number {
  return Math.ceil(bytes / STEP_BYTES) * STEP_BYTES;
}

function advice(awaySeconds: number, peak: number, needed: number, size: number, kept: number): string {
  if (peak === 0) return 'Nothing has been written lately: every size is enough.';
  const sum = `${awaySeconds} s away x ${Math.round(peak)} bytes a second at the busiest`;
  if (size < needed && kept >= needed)
    return `${sum} need ${needed} bytes; the backlog has ${size}, and the journal keeps ${kept}, which is enough.`;
  return size >= needed
    ? `${sum} need ${needed} bytes; the backlog has ${size}, which is enough.`
    : `${sum} need ${needed} bytes; the backlog has ${size}. Use --backlog-size ${Math.ceil(needed / 1024)}kb, or auto:${Math.ceil(awaySeconds)}s.`;
}
