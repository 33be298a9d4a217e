/**
 * Compares what this node holds with what another one holds, at one position, while both go on.
 *
 * No node stands still for that. This node opens the state of its own position; the other one is asked for its digest at that
 * position or a later one, wherever it happens to be; and when this node has got as far, its digest is corrected by what
 * the stream has in between. The other node only tells its digest and asks nobody: so nodes cannot ask each other in circles.
 */
import { type History, standing } from '../../replication/history.ts';
import { formatPosition, type Offset, type Position } from '../../replication/position.ts';
import { canonicalUpstream, httpUrl, notAnUpstream, parseUpstream } from '../../replication/upstream.ts';
import type { StreamHead } from '../head/stream-head.ts';
import { Hold } from '../hold.ts';
import {
  type AskDigest,
  type AskPeer,
  type Digest,
  type NoDigest,
  type OpenDigest,
  StorageError,
  type World,
} from '../ports.ts';
import { Problem } from '../problem.ts';
import { Turns } from '../turns.ts';

/** So much may be written between the two positions at most, in bytes: it is held in memory. */
const MAX_BETWEEN_BYTES = 64 * 1024 * 1024;
/** Read of it at a time. */
const PART_BYTES = 1024 * 1024;

export interface Comparison extends Digest {
  readonly against: Digest & { readonly url: string };
  readonly equal: boolean;
}

interface ComparisonParts {
  readonly world: World;
  readonly head: StreamHead;
  readonly ask: AskPeer;
  readonly askDigest: AskDigest;
  readonly nodeId: string;
  /** @see PositionWaiters.wait */
  reach(position: Position, timeoutMs: number, gone: AbortSignal): Promise<void>;
}

export class Comparisons {
  readonly #parts: ComparisonParts;
  #running: AbortController | null = null;

  constructor(parts: ComparisonParts) {
    this.#parts = parts;
  }

  /**
   * Compares what this node holds with what the node at a URL of a user holds.
   * @param url `ws://HOST:PORT` or `http://HOST:PORT`
   * @throws Problem BAD_REQUEST for an invalid URL, and @see compare
   */
  compareWith(url: string, timeoutMs: number, gone: AbortSignal): Promise<Comparison> {
    const parsed = parseUpstream(url.replace(/^http(?=s?:)/i, 'ws'));
    if (parsed === null) throw new Problem('BAD_REQUEST', notAnUpstream(url));
    return this.compare(canonicalUpstream(parsed), timeoutMs, gone);
  }

  /**
   * @param url of the other node, `ws://HOST:PORT`
   * @param timeoutMs for all of it
   * @param gone nobody waits for it any more
   * @throws Problem TOO_MANY_REQUESTS while another one is going on; BAD_PEER if no node answers there; BAD_REQUEST if it is this
   *   node; UNKNOWN_HISTORY if the two share no history; NOT_REACHED if there was no common position in time
   */
  async compare(url: string, timeoutMs: number, gone: AbortSignal): Promise<Comparison> {
    if (this.#running !== null)
      throw new Problem('TOO_MANY_REQUESTS', 'this node compares itself with another one already');
    const running = new AbortController();
    this.#running = running;
    const stop = (): void => running.abort();
    const cancel = this.#parts.world.after(timeoutMs, stop);
    gone.addEventListener('abort', stop);
    try {
      return await this.#compare(url, timeoutMs, running);
    } catch (error) {
      if (running.signal.reason instanceof Problem) throw running.signal.reason;
      if (running.signal.aborted && !(error instanceof Problem))
        throw new Problem(
          'NOT_REACHED',
          `this node has not compared itself with ${url} within ${timeoutMs} ms`,
        );
      throw error;
    } finally {
      cancel();
      gone.removeEventListener('abort', stop);
      this.#running = null;
    }
  }

  /** The node stops. */
  stop(): void {
    this.#running?.abort();
  }

  async #compare(url: string, timeoutMs: number, running: AbortController): Promise<Comparison> {
    const { ask, head, nodeId, world } = this.#parts;
    const over = running.signal;
    const until = world.monotonic() + timeoutMs;
    const leftMs = (): number => Math.max(0, Math.floor(until - world.monotonic()));
    const peer = await ask(url);
    if (peer === null) throw new Problem('BAD_PEER', `no node answers at ${httpUrl(url)}`);
    if (peer.nodeId === nodeId) throw new Problem('BAD_REQUEST', `${url} is this node itself`);
    let from = head.offset;
    const unpin = head.pin(() => from);
    let open: OpenDigest | null = null;
    let hold: Hold | null = null;
    const close = (): void => open?.close();
    over.addEventListener('abort', close);
    try {
      open = await head.openDigest();
      from = open.position.offset;
      hold = this.#limitHold(from, running);
      over.throwIfAborted();
      const theirs = await this.#parts.askDigest(url, open.position, leftMs(), over);
      if ('code' in theirs) throw new Problem(theirs.code, told(url, theirs));
      this.#check(url, theirs.position, open.position, head.history);
      await this.#parts.reach(theirs.position, leftMs(), over);
      const own = await open.at(await this.#between(open, theirs.position.offset, over));
      const { position, keys, digest } = theirs;
      return {
        ...own,
        position,
        against: { url, position, keys, digest },
        equal: own.keys === keys && own.digest === digest,
      };
    } finally {
      over.removeEventListener('abort', close);
      hold?.stop();
      open?.close();
      unpin();
    }
  }

  /** Gives the comparison up when too much has been written since: the open state keeps all of it on the disk. */
  #limitHold(from: Offset, running: AbortController): Hold {
    const { head, world } = this.#parts;
    const detail = `more than ${MAX_BETWEEN_BYTES} bytes were written before the other node had told its digest`;
    return new Hold({
      world,
      held: () => head.offset - from,
      taken: () => 0,
      limits: { hard: () => MAX_BETWEEN_BYTES },
      othersWait: () => false,
      end: () => running.abort(new Problem('NOT_REACHED', detail)),
    });
  }

  /** @throws Problem if the other node cannot be there */
  #check(url: string, theirs: Position, own: Position, history: History): void {
    if (standing(history, theirs) !== 'shared')
      throw new Problem(
        'UNKNOWN_HISTORY',
        `${httpUrl(url)} is at ${formatPosition(theirs)}, which this node does not share`,
      );
    if (theirs.offset < own.offset)
      throw new Problem('BAD_PEER', `${httpUrl(url)} was asked for ${formatPosition(own)} or later`);
    if (theirs.offset - own.offset > MAX_BETWEEN_BYTES)
      throw new Problem(
        'NOT_REACHED',
        `${httpUrl(url)} is ${theirs.offset - own.offset} bytes ahead; ${MAX_BETWEEN_BYTES} are the most`,
      );
  }

  /** The bytes up to `end`, which this node has reached. */
  async #between(open: OpenDigest, end: Offset, over: AbortSignal): Promise<Buffer[]> {
    const { head, world } = this.#parts;
    const turns = new Turns(world);
    const parts: Buffer[] = [];
    for (let at = open.position.offset; at < end; ) {
      over.throwIfAborted();
      if (standing(head.history, open.position) !== 'shared' || head.offset < end)
        throw new Problem('UNKNOWN_HISTORY', 'a full resync has replaced what this node held');
      // It is handed to another thread: what is only a view would take all of its memory along.
      const part = Buffer.from(head.read(at, PART_BYTES).subarray(0, end - at));
      parts.push(part);
      at = (at + part.length) as Offset;
      await turns.next();
    }
    return parts;
  }
}

function told(url: string, { code, detail }: NoDigest): string {
  if (code === 'BAD_PEER') return `${httpUrl(url)} ${detail}`;
  return `${httpUrl(url)} says: ${detail}`;
}

/** Whether the comparison failed because of the disk, or because it was not possible now. */
export function isExpected(error: unknown): boolean {
  return error instanceof Problem || error instanceof StorageError;
}
