/**
 * Makes one segment of the journal. The journal is read a slice at a time, between the write turns; if
 * slices are compressed, another thread does it. So no write waits for long.
 */
import type { ArchivedStream } from '../../node/ports/archived-stream.ts';
import { StorageError } from '../../node/ports/failures.ts';
import type { Offset } from '../../replication/position.ts';
import type { Mark } from '../commit-times.ts';
import { type SegmentName, segmentName } from '../names.ts';
import { SegmentWriter } from '../segment.ts';

/** Number of bytes that are read at a time; a larger commit is read whole. */
const SLICE_BYTES = 256 * 1024;

/** A finished segment. */
export interface Piece {
  readonly name: string;
  readonly segment: SegmentName;
  readonly end: Offset;
  /** The history hash there; null: unknown. */
  readonly hash: bigint | null;
  readonly bytes: Buffer;
}

interface PieceParts {
  readonly stream: ArchivedStream;
  /** First part of the name. */
  readonly cluster: string;
  /** The segment ends at the first end of a commit at which it has so many bytes. */
  readonly segmentBytes: number;
  /** Whether the segment is compressed. */
  readonly compresses: boolean;
  readonly marks: (after: Offset, end: Offset) => readonly Mark[];
  /** Whether the segment is wanted still; if not, it is given up. */
  readonly isWanted: () => boolean;
}

/**
 * @param from the offset up to which the archive has everything
 * @returns null: the segment is not wanted any more
 * @throws NotInJournal, StorageError
 */
export async function makePiece(parts: PieceParts, from: Offset): Promise<Piece | null> {
  const { cluster, marks, stream } = parts;
  // Another node may have cut elsewhere: a segment begins where a commit of this node begins.
  const after = stream.rowStart(from) ?? from;
  const hashBefore = after < stream.chainFrom ? null : stream.hashAt(after);
  const beginsChain = stream.chainFrom === after;
  const writer = new SegmentWriter(parts.compresses);
  try {
    const end = await filled(writer, parts, after);
    if (!parts.isWanted()) return null;
    const { runId, lineage } = stream.history;
    const isChained = stream.chainFrom <= after;
    const hash = isChained ? stream.hashAt(end) : null;
    const bytes = await writer.finish({
      runId,
      lineage,
      after,
      end,
      hashBefore,
      hashAfter: hash,
      beginsChain,
      marks: marks(after, end),
    });
    if (!parts.isWanted()) return null;
    const name = segmentName(cluster, runId, after, end);
    return { name, segment: { kind: 'segment', name, cluster, runId, after, end }, end, hash, bytes };
  } finally {
    writer.close();
  }
}

/** @returns the bytes after `end`; null: they are damaged, and the segment ends before them @throws NotInJournal, StorageError */
function nextBytes(stream: ArchivedStream, end: Offset, after: Offset, enoughBytes: number): Buffer | null {
  try {
    return stream.read(end, enoughBytes);
  } catch (error) {
    if (end > after && error instanceof StorageError && error.damaged) return null;
    throw error;
  }
}

/** Gives the writer whole commits. @returns the offset after them */
async function filled(
  writer: SegmentWriter,
  { isWanted, segmentBytes, stream }: PieceParts,
  after: Offset,
): Promise<Offset> {
  const goal = stream.offset;
  let end: number = after;
  while (end < goal && writer.length < segmentBytes && isWanted()) {
    // Hashes before and after such a place do not follow from each other, so a segment ends there.
    const { chainFrom } = stream;
    const bytes = nextBytes(stream, end as Offset, after, Math.min(SLICE_BYTES, segmentBytes));
    if (bytes === null) break;
    const most = end < chainFrom ? chainFrom - end : bytes.length;
    await writer.push(bytes.subarray(0, most));
    end += Math.min(most, bytes.length);
    if (end === chainFrom) break;
  }
  return end as Offset;
}
