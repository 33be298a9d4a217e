/** Makes the last words of the answer to PSYNC, which only psyncd's replicas understand. */
import { formatLineage } from '../../replication/history.ts';
import { formatHash, HISTORY_HASH } from '../../replication/history-hash.ts';
import type { Offset } from '../../replication/position.ts';
import type { StreamHead } from '../head/stream-head.ts';
import { StorageError } from '../ports/failures.ts';

/** URLs under which clients reach this node; null: the one that its replicas dial. */
export interface ClientUrls {
  /** `ws://HOST:PORT` */
  readonly announced: string | null;
  /** `https://HOST/PATH` */
  readonly public: string | null;
}

interface Answering {
  readonly head: StreamHead;
  readonly urls: ClientUrls;
  /** Capabilities that the replica has announced; it gets only the words that these say it understands. */
  readonly capabilities: readonly string[];
}

/**
 * @param word first word: the number of bytes that the replica lacked, or the reason for a full resync
 * @param after offset from which the stream continues
 * @returns the word, this node's lineage, the URL for clients and its history hash at `after`, with a space in front; an empty
 *   string for a replica that does not know lineages
 */
export function answerTail({ head, urls, capabilities }: Answering, word: string, after: Offset): string {
  if (!capabilities.includes('lineage')) return '';
  const toldUrl = capabilities.includes('announced-url');
  const toldHash = capabilities.includes(HISTORY_HASH);
  const words = [word, formatLineage(head.history.lineage)];
  if (toldUrl || toldHash) words.push((toldUrl ? urlFor(capabilities, urls) : null) ?? '-');
  if (toldHash) words.push(hashWord(head, after));
  return ` ${words.join(' ')}`;
}

/** Replicas from before there were public URLs take no other than `ws://HOST:PORT`. */
function urlFor(capabilities: readonly string[], urls: ClientUrls): string | null {
  return capabilities.includes('public-url') ? (urls.public ?? urls.announced) : urls.announced;
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
