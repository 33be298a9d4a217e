/** Finds segments that are not as long as they say: nothing can be restored that needs them. */
import type { BackupTarget, TargetCall } from '../../node/ports/backup-target.ts';
import type { ListedSegment } from '../coverage.ts';
import { LEAST_SEGMENT_BYTES, lookAtSegment } from '../looks.ts';
import { parseArchived } from '../names.ts';

/** Most segments that seem short and are looked into, and most others, whose headers may hide that they are cut. */
const MAX_LOOKS = 1_000;
const MAX_OTHERS = 256;
/** Most segments without bytes that are remembered. */
const MAX_EMPTY = 10_000;
/** Number of segments that are looked into at a time. */
const AT_A_TIME = 8;

/**
 * Looks into the last segment of each run ID, and into those that are shorter than the bytes of the stream that they have by their names: they are
 * compressed, or cut; and into some others.
 * @throws TargetError
 */
export async function cutSegments(target: BackupTarget, call: TargetCall): Promise<readonly ListedSegment[]> {
  const cut: ListedSegment[] = [];
  const short: ListedSegment[] = [];
  const others: ListedSegment[] = [];
  const last = new Map<string, ListedSegment>();
  for await (const { name, size, modified } of target.list('', call)) {
    const found = parseArchived(name);
    if (found?.kind !== 'segment') continue;
    const segment = { ...found, size, modified };
    const key = `${found.cluster} ${found.runId}`;
    if (size < LEAST_SEGMENT_BYTES) {
      if (cut.length < MAX_EMPTY) cut.push(segment);
    } else if (size < found.end - found.after + LEAST_SEGMENT_BYTES) {
      if (short.length < MAX_LOOKS) short.push(segment);
    } else {
      if (others.length < MAX_OTHERS) others.push(segment);
      const isLast = (last.get(key)?.end ?? -1) < found.end;
      if (isLast && (last.has(key) || last.size < MAX_LOOKS)) last.set(key, segment);
    }
  }
  const asked = [
    ...new Map([...last.values(), ...short, ...others].map((each) => [each.name, each])).values(),
  ];
  for (let next = 0; next < asked.length; next += AT_A_TIME) {
    const looks = asked.slice(next, next + AT_A_TIME).map(async (segment) => {
      if ((await lookAtSegment(target, segment, call)) === null) cut.push(segment);
    });
    await Promise.all(looks);
  }
  return cut;
}
