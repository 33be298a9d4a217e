/** Makes the last words of the answer to PSYNC, which only psyncd's replicas understand. */
import { formatLineage } from '../../replication/history.ts';
import { formatHash, HISTORY_HASH } from '../../replication/history-hash.ts';
import type { Offset } from '../../replication/position.ts';
import type { StreamHead } from '../head/stream-head.ts';
import { StorageError } from '../ports/failures.ts';

interface Answering {
  readonly head: StreamHead;
  readonly announcedUrl: string | null;
  /** Capabilities that the replica has announced; it gets only the words that these say it understands. */
  readonly capabilities: readonly string[];
}

/**
 * @param word first word: the number of bytes that the replica lacked, or the reason for a full resync
 * @param after offset from which the stream continues
 * @returns the word, this node's lineage, its announced URL and its history hash at `after`, with a space in front; an empty
 *   string for a replica that does not know lineages
 */
export function answerTail(
  { head, announcedUrl, capabilities }: Answering,
  word: string,
  after: Offset,
): string {
  if (!capabilities.includes('lineage')) return '';
  const toldUrl = capabilities.includes('announced-url');
  const toldHash = capabilities.includes(HISTORY_HASH);
  const words = [word, formatLineage(head.history.lineage)];
  if (toldUrl || toldHash) words.push((toldUrl ? announcedUrl : null) ?? '-');
  if (toldHash) words.push(hashWord(head, after));
  return ` ${words.join(' ')}`;
}

function hashWord(head: StreamHead, at: Offset): string {
  try {
    const hash = head.hashAt(at);
    return hash === null ? '-' : formatHash(hash);
  } catch (error) {
    // The session cannot read the journal after this offset either, and ends when it gets there.
    if (!(error instanceof StorageError)) throw error;
    return '-';
  }
}
