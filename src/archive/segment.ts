/**
 * A segment: a piece of the stream as one object, with all that is needed to check it.
 *
 * It begins with a skippable frame of zstd, which every zstd passes over: its magic, its length, a SHA-256, and a header in JSON. The
 * stream's bytes follow as one frame of zstd, so `zstd -d` gives them. The SHA-256 covers the header and that frame, so every
 * wrong bit is found; the header has the SHA-256 of the bytes themselves, so they are checked from end to end. The frame holds the
 * bytes as they are, or compressed: readers see no difference.
 */
import { createHash, type Hash } from 'node:crypto';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { type Ancestor, formatLineage, type History, parseLineage } from '../replication/history.ts';
import { formatHash, parseHash } from '../replication/history-hash.ts';
import { type Offset, offset, parseRunId, type RunId } from '../replication/position.ts';
import { MAX_SEGMENT_MARKS, type Mark } from './commit-times.ts';
import { CompressedFrame } from './frames/compressed-frame.ts';
import type { Frame } from './frames/frame.ts';
import { StoredFrame } from './frames/stored-frame.ts';

/** The format that this psyncd writes, and the highest one that it reads. */
export const SEGMENT_FORMAT = 1;
/** The first bytes: a skippable frame of zstd. */
export const SKIPPABLE = 0x184d2a50;
/** Length of the magic and the length of the frame. */
export const FRAME_BYTES = 8;
export const SUM_BYTES = 32;
/** Longest header, in bytes: 64 ancestors and 8,192 marks take less than half of it. */
export const MAX_HEADER_BYTES = 1024 * 1024;

/** Number of bytes after whose SHA-256 others get the event loop. */
const TURN_BYTES = 512 * 1024;

/** What a segment says of itself. */
export interface SegmentHeader {
  readonly runId: RunId;
  /** The run IDs that the history had grown out of, newest first. */
  readonly lineage: readonly Ancestor[];
  /** The offset before its first byte. */
  readonly after: Offset;
  /** The offset of its last byte, where a commit ends. */
  readonly end: Offset;
  /** The history hash at `after`; null: unknown. */
  readonly hashBefore: bigint | null;
  /** The history hash at `end`, which follows from `hashBefore`; null: unknown. */
  readonly hashAfter: bigint | null;
  /** Whether `hashBefore` does not follow from the bytes before, because a chain of hashes begins there. */
  readonly beginsChain: boolean;
  /** When the stream had come how far. */
  readonly marks: readonly Mark[];
  /** SHA-256 of the bytes, 64 hex digits. */
  readonly sha256: string;
  /** Number of bytes after the header; null: the segment does not say. */
  readonly frameBytes: number | null;
}

/** What is told of a segment; the rest follows from its bytes. */
export type SegmentFacts = Omit<SegmentHeader, 'sha256' | 'frameBytes'>;

/** A segment that is not what was written. The message is for the end of a line: `is damaged: …`. */
export class SegmentError extends Error {
  override readonly name = 'SegmentError';
}

/** Makes one segment of the bytes that it is given. */
export class SegmentWriter {
  readonly #frame: Frame;
  readonly #sum: Hash = createHash('sha256');
  #length = 0;

  /** @param compresses whether the segment is compressed; if not, its length does not depend on what the bytes are */
  constructor(compresses: boolean) {
    this.#frame = compresses ? new CompressedFrame() : new StoredFrame();
  }

  /** Number of bytes that it was given. */
  get length(): number {
    return this.#length;
  }

  /** Takes the next bytes of the stream; the caller must not change them afterwards. */
  async push(bytes: Buffer): Promise<void> {
    this.#sum.update(bytes);
    this.#length += bytes.length;
    await this.#frame.push(bytes);
  }

  /** @returns the segment as one object */
  async finish(facts: SegmentFacts): Promise<Buffer> {
    const frame = await this.#frame.finish();
    const frameBytes = frame.reduce((bytes, { length }) => bytes + length, 0);
    const header = { ...facts, sha256: this.#sum.digest('hex'), frameBytes };
    const text = Buffer.from(JSON.stringify(headerJson(header)));
    if (text.length > MAX_HEADER_BYTES) throw new RangeError('the header of a segment is too long');
    const sum = createHash('sha256').update(text);
    let unshared = 0;
    for (const part of frame) {
      sum.update(part);
      unshared += part.length;
      if (unshared < TURN_BYTES) continue;
      await nextTurn();
      unshared = 0;
    }
    const begin = Buffer.alloc(FRAME_BYTES);
    begin.writeUInt32LE(SKIPPABLE, 0);
    begin.writeUInt32LE(SUM_BYTES + text.length, 4);
    return Buffer.concat([begin, sum.digest(), text, ...frame]);
  }

  /** Gives the memory back, if the segment is not finished. */
  close(): void {
    this.#frame.close();
  }
}

function headerJson(header: SegmentHeader): Readonly<Record<string, unknown>> {
  const { runId, lineage, after, end, hashBefore, hashAfter, beginsChain, marks, sha256, frameBytes } =
    header;
  return {
    format: SEGMENT_FORMAT,
    runId,
    first: after + 1,
    last: end,
    lineage: formatLineage(lineage),
    hashBefore: hashBefore === null ? null : formatHash(hashBefore),
    hashAfter: hashAfter === null ? null : formatHash(hashAfter),
    beginsChain,
    sha256,
    frameBytes,
    times: marks,
  };
}

/** @throws SegmentError if the text is no header that this psyncd can read */
export function parseHeader(text: string): SegmentHeader {
  const given = parsed(text);
  if (Number.isSafeInteger(given.format) && (given.format as number) > SEGMENT_FORMAT) {
    throw new SegmentError(
      `it has format ${given.format}, and this psyncd reads up to ${SEGMENT_FORMAT}: use a newer one`,
    );
  }
  const runId = parseRunId(String(given.runId));
  const lineage = parseLineage(String(given.lineage));
  const [first, last] = [given.first, given.last] as [number, number];
  const isRange = [first, last].every(Number.isSafeInteger) && first >= 1 && last >= first;
  const [hashBefore, hashAfter] = [hashOf(given.hashBefore), hashOf(given.hashAfter)];
  const isWrong =
    given.format !== SEGMENT_FORMAT ||
    runId === null ||
    lineage === null ||
    !isRange ||
    hashBefore === undefined ||
    hashAfter === undefined ||
    typeof given.beginsChain !== 'boolean' ||
    !/^[0-9a-f]{64}$/.test(String(given.sha256)) ||
    !isLength(given.frameBytes) ||
    !areMarks(given.times, first, last);
  if (isWrong) throw new SegmentError('its header is not what psyncd writes');
  return {
    runId,
    lineage,
    after: offset(first - 1),
    end: offset(last),
    hashBefore,
    hashAfter,
    beginsChain: given.beginsChain as boolean,
    marks: given.times as readonly Mark[],
    sha256: given.sha256 as string,
    frameBytes: (given.frameBytes as number | null | undefined) ?? null,
  };
}

function parsed(text: string): Readonly<Record<string, unknown>> {
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value === 'object' && value !== null) return value as Record<string, unknown>;
  } catch {
    // The text is no JSON.
  }
  throw new SegmentError('its header is no JSON');
}

/** @returns undefined: the value is neither a hash nor null */
function hashOf(value: unknown): bigint | null | undefined {
  if (value === null) return null;
  return typeof value === 'string' ? (parseHash(value) ?? undefined) : undefined;
}

/** Whether the value is a number of bytes, or nothing. */
function isLength(value: unknown): boolean {
  return value === undefined || value === null || (Number.isSafeInteger(value) && (value as number) > 0);
}

/** Whether the marks are within the segment and in the order of the stream. */
function areMarks(value: unknown, first: number, last: number): boolean {
  if (!Array.isArray(value) || value.length > MAX_SEGMENT_MARKS) return false;
  let before = first - 1;
  return value.every((mark: unknown) => {
    if (!Array.isArray(mark) || mark.length !== 2) return false;
    const [at, ms] = mark as [unknown, unknown];
    if (!Number.isSafeInteger(at) || !Number.isSafeInteger(ms)) return false;
    const isNext = (at as number) > before && (at as number) <= last;
    before = at as number;
    return isNext;
  });
}

/** @returns the history that a segment is of */
export function historyOf({ runId, lineage }: Pick<SegmentHeader, 'runId' | 'lineage'>): History {
  return { runId, lineage };
}
