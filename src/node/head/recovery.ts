/**
 * Recovery of the head of the stream from the files. A restart is a partial resync from the node's own journal: the head
 * decodes and applies the bytes that the keyspace file lacks with the code that a replica uses, and refills the backlog.
 *
 * After a power cut the keyspace file, whose commits are fsynced, may be ahead of the journal. The file holds a true state
 * of the history, so recovery takes it. A journal that begins after the end of the keyspace file leaves a gap, which is damage.
 */
import { type Offset, offset } from '../../replication/position.ts';
import type { Run } from '../../stream/command.ts';
import { StreamDecoder } from '../../stream/decoder.ts';
import { ProtocolError } from '../../stream/protocol-error.ts';
import { FilesDamaged, NotInJournal, StorageError } from '../ports/failures.ts';
import type { StateStore } from '../ports/state-store.ts';
import type { HeadParts } from './head-parts.ts';
import { checkStanding } from './keyspace/keyspace-standing.ts';

/** Number of journal bytes that recovery and a refill of the backlog ask for at a time; a read returns whole rows. */
export const REPLAY_BYTES = 1024 * 1024;

export interface RecoveryPlan {
  /** End of the keyspace file. */
  readonly held: Offset;
  /** Offset from which the backlog is refilled; at most `held`. */
  readonly refillFrom: Offset;
  /** End of the journal; null: the keyspace file is ahead of the journal, and no byte is replayed. */
  readonly end: Offset | null;
}

/**
 * Compares the journal with the keyspace file.
 * @throws FilesDamaged when there is a gap between them, when they are of different histories, or when the last stop was clean and
 *   the journal lacks bytes that the keyspace file has
 */
export function planRecovery({
  state,
  keyspace,
  settings,
  log,
}: Pick<HeadParts, 'state' | 'keyspace' | 'settings' | 'log'>): RecoveryPlan {
  checkStanding(state, keyspace.opened);
  const held = keyspace.opened.offset;
  const start = state.journalStart ?? held;
  const end = state.journalEnd ?? held;
  if (start > held) {
    throw new FilesDamaged(
      `the journal begins after byte ${start}, but the keyspace file ends at byte ${held}`,
    );
  }
  if (end >= held) {
    const refillFrom = Math.max(start, Math.min(held, end - settings.backlogBytes)) as Offset;
    return { held, refillFrom, end };
  }
  // A clean stop flushes only bytes that the journal has.
  if (state.wasClean && end > start)
    throw new FilesDamaged(
      `the keyspace file is at byte ${held}, but the journal of a clean stop ends at byte ${end}`,
    );
  if (end > start) log.warn('keyspace-ahead-of-journal', { keyspace: held, journal: end });
  return { held, refillFrom: held, end: null };
}

/** What takes the bytes of a replay. */
interface Replayed {
  /** Takes all bytes, for the backlog. */
  keep(bytes: Buffer): void;
  /** The backlog begins anew after this offset, because what comes before cannot be read. */
  keepFrom(after: Offset): void;
  /** Takes the commands after `held`, for the overlay. */
  take(run: Run): void;
}

/**
 * Reads the journal from `refillFrom` to `end`. Damage up to `held` costs only a part of the backlog: the keyspace file has the entries.
 * @throws FilesDamaged if its bytes are no stream, NotInJournal if it lacks some, StorageError
 */
export function replay(
  state: Pick<StateStore, 'read' | 'damagedUpTo'>,
  { held, refillFrom }: RecoveryPlan,
  end: Offset,
  { keep, keepFrom, take }: Replayed,
): void {
  const decoder = new StreamDecoder();
  let at = refillFrom;
  while (at < end) {
    let bytes = readOrSkip(state, at, held);
    if (typeof bytes === 'number') {
      at = bytes;
      keepFrom(at);
      continue;
    }
    if (at < held && at + bytes.length > held) bytes = bytes.subarray(0, held - at);
    keep(bytes);
    if (at >= held) {
      const run = decoded(decoder, bytes, at);
      if (run !== null) take(run);
    }
    at = offset(at + bytes.length);
  }
}

/**
 * @param held end of what nobody needs but the backlog
 * @returns the bytes after `at`; where to go on, at most `held`, if they are damaged and before `held`
 */
function readOrSkip(
  state: Pick<StateStore, 'read' | 'damagedUpTo'>,
  at: Offset,
  held: Offset,
): Buffer | Offset {
  try {
    return state.read(at, REPLAY_BYTES);
  } catch (error) {
    if (!(error instanceof StorageError && error.damaged) || at >= held) throw error;
    const { damagedUpTo } = state;
    return damagedUpTo !== null && damagedUpTo > at ? offset(Math.min(damagedUpTo, held)) : held;
  }
}

/** @throws FilesDamaged if the bytes after `at` are no stream */
function decoded(decoder: StreamDecoder, bytes: Buffer, at: Offset): Run | null {
  try {
    return decoder.push(bytes);
  } catch (error) {
    if (!(error instanceof ProtocolError)) throw error;
    const what = `the bytes of the journal after byte ${at} are no stream: ${error.message}`;
    throw new FilesDamaged(what, { cause: error });
  }
}

/** @returns the error that recovery throws: damage if the journal lacks bytes of the stream, else the same error */
export function recoveryError(error: unknown): unknown {
  return error instanceof NotInJournal ? new FilesDamaged(error.message, { cause: error }) : error;
}
