/** All numbers of one scrape, read at one moment, so that metrics of one scrape fit together. */
import type { FailureName } from '../access/access-problem.ts';
import type { NodeNumbers } from '../node/numbers.ts';
import type { Durations, Tally } from '../node/ports/counts.ts';
import { freeBytesIn } from '../runtime/free-room.ts';
import type { LimitName } from '../web/client-limits.ts';
import type { RequestCounts } from '../web/record/request-counts.ts';

/** Where the numbers come from. */
export interface Sources {
  readonly version: string;
  /** Value of the label `cluster`; null: no such label. */
  readonly cluster: string | null;
  /** Path of the data folder. */
  readonly data: string;
  readonly node: { readonly numbers: NodeNumbers };
  readonly requests: RequestCounts;
  readonly limited: Tally<LimitName>;
  readonly authFailures: Tally<FailureName>;
  readonly state: { readonly numbers: StateNumbers };
  /** null: the node has no certificate. */
  readonly tls: TlsNumbers | null;
  /** Delays of the event loop in the last seconds, in milliseconds. */
  readonly loopLag: { readonly last: { readonly p99Ms: number; readonly maxMs: number } };
}

/** Numbers of psyncd.db. */
export interface StateNumbers {
  readonly journal: {
    readonly commits: number;
    readonly syncs: Durations;
    /** Whether the last commit failed because the disk was full. */
    readonly isFull: boolean;
  };
  readonly checkpoints: Durations;
}

export interface TlsNumbers {
  readonly certificate: { readonly validToDate: Date };
  readonly reloads: Tally<'used' | 'failed'>;
}

/** Seconds since 1970. */
const STARTED_AT = Date.now() / 1_000 - process.uptime();

export interface Snapshot extends Omit<Sources, 'node' | 'state' | 'loopLag'> {
  /** The URL under which other nodes know this one. */
  readonly name: string;
  readonly node: NodeNumbers;
  readonly state: StateNumbers;
  readonly loopLag: { readonly p99Ms: number; readonly maxMs: number };
  /** Seconds since 1970, of the start of the process and of the scrape. */
  readonly startedAt: number;
  readonly now: number;
  /** null: the system does not tell. */
  readonly diskFreeBytes: number | null;
  /** In bytes; null: the system does not tell, because no file descriptors are left. */
  readonly memory: NodeJS.MemoryUsage | null;
  /** Processor time of all threads, in seconds. */
  readonly cpuSeconds: number;
}

/**
 * @param name the URL under which other nodes know this one
 * @param diskFreeBytes what `freeBytes` has said
 */
export function takeSnapshot(sources: Sources, name: string, diskFreeBytes: number | null): Snapshot {
  const { user, system } = process.cpuUsage();
  return {
    ...sources,
    name,
    node: sources.node.numbers,
    state: sources.state.numbers,
    loopLag: sources.loopLag.last,
    startedAt: STARTED_AT,
    now: Date.now() / 1_000,
    diskFreeBytes,
    memory: memory(),
    cpuSeconds: (user + system) / 1e6,
  };
}

/** Metrics tell free room in steps of so many bytes: those who see metrics need not know the size of every file that is written. */
const FREE_STEP_BYTES = 1024 * 1024;

/** @returns bytes that the node may still write, rounded down to whole MiB; null: the system does not tell */
export async function freeBytes(folder: string): Promise<number | null> {
  try {
    const free = await freeBytesIn(folder);
    return Number.isFinite(free) ? free - (free % FREE_STEP_BYTES) : null;
  } catch {
    return null;
  }
}

function memory(): NodeJS.MemoryUsage | null {
  try {
    return process.memoryUsage();
  } catch {
    return null;
  }
}
