/**
 * How large the backlog is, and should be. The rule: the time that a replica may be away, times the bytes that are
 * written meanwhile, at the busiest rate of the last ten minutes. `--backlog-size auto:120s` keeps to it, between a floor
 * and a ceiling: it grows at once, and shrinks when half would do.
 */
import type { FullResyncReason } from '../../replication/decide.ts';
import { offset } from '../../replication/position.ts';
import { backlogFor } from '../../replication/write-rate.ts';
import type { Log, World } from '../ports.ts';
import type { StreamHead } from './stream-head.ts';

/** A replica was away, and has come back. */
export interface Outage {
  /** Where it says that it can be reached, or where it comes from. */
  readonly replica: string;
  /** When it came back, in milliseconds since 1970. */
  readonly at: number;
  readonly awayMs: number;
  /** How many bytes were written meanwhile. */
  readonly bytes: number;
  readonly kind: 'partial' | 'full';
  readonly reason?: FullResyncReason;
}

export interface BacklogSettings {
  /** Of a fixed size: how large it is. */
  readonly backlogBytes: number;
  /** How long replicas may be away; null: the size is fixed. */
  readonly backlogAwayMs: number | null;
  readonly backlogFloorBytes: number;
  readonly backlogCeilingBytes: number;
}

export interface BacklogReport {
  readonly position: string;
  readonly size: number;
  readonly firstOffset: number;
  readonly length: number;
  /** null: the size is fixed. */
  readonly auto: { readonly awaySeconds: number; readonly floor: number; readonly ceiling: number } | null;
  /** Bytes a second. */
  readonly rate: { readonly current: number; readonly peak: number };
  /** How long ago the oldest byte that is held was written. */
  readonly historySeconds: number;
  /** How long a replica may be away at the peak rate; null: nothing was written. */
  readonly coversSeconds: number | null;
  readonly outages: readonly Outage[];
  readonly advice: {
    readonly awaySeconds: number;
    readonly size: number;
    readonly enough: boolean;
    readonly text: string;
  };
}

const TICK_MS = 1_000;
/** Sizes are multiples of this, so that small changes of the rate change nothing. */
const STEP_BYTES = 64 * 1024;
/** What advice assumes while no replica has been away. */
const DEFAULT_AWAY_SECONDS = 60;
const MIN_BYTES = 16 * 1024;

export class BacklogKeeper {
  readonly #world: World;
  readonly #log: Log;
  readonly #head: StreamHead;
  readonly #settings: BacklogSettings;
  #cancel: (() => void) | null = null;
  /** The size of the backlog that is being filled; null: none is. */
  #resizingTo: number | null = null;

  constructor(parts: { world: World; log: Log; head: StreamHead; settings: BacklogSettings }) {
    this.#world = parts.world;
    this.#log = parts.log;
    this.#head = parts.head;
    this.#settings = parts.settings;
  }

  start(): void {
    // First: whatever becomes of this tick, there is a next one.
    this.#cancel = this.#world.after(TICK_MS, () => this.start());
    this.adjust();
  }

  stop(): void {
    this.#cancel?.();
  }

  /** Makes the backlog as large as the settings want it now. */
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
        // No memory for it, or the journal could not be read: it stays as it is, and the next tick tries again.
        this.#log.warn('backlog-not-resized', { before: size, wanted, error: String(error) });
      },
    );
  }

  /** @param awaySeconds what the advice is for; null: the longest outage that was seen */
  report(position: string, outages: readonly Outage[], awaySeconds: number | null): BacklogReport {
    const { size, firstOffset, length } = this.#head.backlog;
    const { backlogAwayMs, backlogFloorBytes: floor, backlogCeilingBytes: ceiling } = this.#settings;
    const rate = this.#head.rates;
    const longest = Math.ceil(Math.max(0, ...outages.map(({ awayMs }) => awayMs)) / 1000);
    const away =
      awaySeconds ?? (backlogAwayMs === null ? longest || DEFAULT_AWAY_SECONDS : backlogAwayMs / 1000);
    const needed = Math.max(MIN_BYTES, rounded(backlogFor(away * 1000, rate.peak)));
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
        enough: size >= needed,
        text: advice(away, rate.peak, needed, size),
      },
    };
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

function advice(awaySeconds: number, peak: number, needed: number, size: number): string {
  if (peak === 0) return 'Nothing has been written lately: every size is enough.';
  const sum = `${awaySeconds} s away x ${Math.round(peak)} bytes a second at the busiest`;
  return size >= needed
    ? `${sum} need ${needed} bytes; the backlog has ${size}, which is enough.`
    : `${sum} need ${needed} bytes; the backlog has ${size}. Use --backlog-size ${Math.ceil(needed / 1024)}kb, or auto:${Math.ceil(awaySeconds)}s.`;
}
