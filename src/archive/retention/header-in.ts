/** Reads what a segment in a target says of itself, without its bytes. Its SHA-256 is not compared. */
import type { BackupTarget, TargetCall } from '../../node/ports/backup-target.ts';
import type { SegmentName } from '../names.ts';
import {
  FRAME_BYTES,
  MAX_HEADER_BYTES,
  parseHeader,
  SegmentError,
  type SegmentHeader,
  SKIPPABLE,
  SUM_BYTES,
} from '../segment.ts';

/** @throws SegmentError if it does not begin as the segment of its name; TargetError */
export async function headerIn(
  target: BackupTarget,
  segment: SegmentName,
  call: TargetCall,
): Promise<SegmentHeader> {
  return (await beginIn(target, segment, call)).header;
}

/**
 * @returns the header, and how many bytes are before the frame that follows it
 * @throws SegmentError if it does not begin as the segment of its name; TargetError
 */
export async function beginIn(
  target: BackupTarget,
  { name, runId, after, end }: SegmentName,
  call: TargetCall,
): Promise<{ readonly header: SegmentHeader; readonly frameAt: number }> {
  const begin = Buffer.from(await target.begin(name, FRAME_BYTES + SUM_BYTES, call));
  if (begin.length < FRAME_BYTES || begin.readUInt32LE(0) !== SKIPPABLE) {
    throw new SegmentError('it does not begin as one');
  }
  const length = FRAME_BYTES + begin.readUInt32LE(4);
  if (length > FRAME_BYTES + SUM_BYTES + MAX_HEADER_BYTES) throw new SegmentError('its header has no length');
  const bytes = Buffer.from(await target.begin(name, length, call));
  const header = parseHeader(bytes.toString('utf8', FRAME_BYTES + SUM_BYTES));
  if (header.runId === runId && header.after === after && header.end === end)
    return { header, frameAt: length };
  throw new SegmentError('it is another segment, under a wrong name');
}
