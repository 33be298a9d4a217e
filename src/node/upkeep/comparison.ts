/**
 * Compares the keyspace of this node with the keyspace of another node at one position, while both nodes serve their clients.
 *
 * This node opens a digest of its state at its own position. It asks the other node for the digest of that position or of a later
 * one, whichever the other node has reached. When this node has reached that position too, it adds the part of the stream between
 * the two positions to its own digest. The other node computes its digest without asking any node, so nodes cannot ask each other
 * in circles.
 */
import { type History, standing } from '../../replication/history.ts';
import { formatPosition, type Offset, type Position } from '../../replication/position.ts';
import { canonicalUpstream, httpUrl, notAnUpstream, parseUpstream } from '../../replication/upstream.ts';
import type { StreamHead } from '../head/stream-head.ts';
import { Hold } from '../hold.ts';
import { StorageError } from '../ports/failures.ts';
import type { Digest, OpenDigest } from '../ports/keyspace.ts';
import type { AskDigest, AskPeer, NoDigest } from '../ports/peers.ts';
import type { World } from '../ports/world.ts';
import { Problem } from '../problem.ts';
import { Turns } from '../turns.ts';

/** Largest part of the stream between the two positions, in bytes, because this node holds it in memory. */
const MAX_BETWEEN_BYTES = 64 * 1024 * 1024;
/** Number of bytes of that part that this node reads at a time. */
const PART_BYTES = 1024 * 1024;

/** The digest of this node, and the digest of the other node at the same position. */
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
  /** Ends the running comparison; null: none runs. */
  #running: AbortController | null = null;

  constructor(parts: ComparisonParts) {
    this.#parts = parts;
  }

  /**
   * Compares this node with the node at a URL that a user has given.
   * @param url `ws://HOST:PORT` or `http://HOST:PORT`
   * @throws Problem BAD_REQUEST for an invalid URL, and @see compare
   */
  compareWith(url: string, timeoutMs: number, gone: AbortSignal): Promise<Comparison> {
    const parsed = parseUpstream(url.replace(/^http(?=s?:)/i, 'ws'));
    if (parsed === null) throw new Problem('BAD_REQUEST', notAnUpstream(url));
    return this.compare(canonicalUpstream(parsed), timeoutMs, gone);
  }

  /**
   * Compares this node with another one.
   * @param url URL of the other node, `ws://HOST:PORT`
   * @param timeoutMs longest time of the whole comparison, in milliseconds
   * @param gone ends the comparison, because the caller waits no longer
   * @throws Problem TOO_MANY_REQUESTS while another comparison runs; BAD_PEER if no node answers there; BAD_REQUEST if the other
   *   node is this node; UNKNOWN_HISTORY if the two share no history; NOT_REACHED if they reached no common position in time
   */
  async compare(url: string, timeoutMs: number, gone: AbortSignal): Promise<Comparison> {
    if (this.#running !== null)
      throw new Problem('TOO_MANY_REQUESTS', 'this node compares itself with another one already');
    const running = new AbortController();
    this.#running = running;
    const stop = (): void => running.abort();
    const cancel = this.#parts.world.after(timeoutMs, stop);
    gone.addEventListener('abort', stop);
    if (gone.aborted) stop();
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

  /** Ends the running comparison, because the node stops. */
  stop(): void {
    this.#running?.abort();
  }

  async #compare(url: string, timeoutMs: number, running: AbortController): Promise<Comparison> {
    const { ask, head, nodeId, world } = this.#parts;
    const over = running.signal;
    const until = world.monotonic() + timeoutMs;
    const leftMs = (): number => Math.max(0, Math.floor(until - world.monotonic()));
    const peer = await ask(url, false);
    if (peer === null) throw new Problem('BAD_PEER', `no node answers at ${httpUrl(url)}`);
    if (typeof peer === 'string') {
      const detail = `${httpUrl(url)} wants a token: this node shows its own to its master only`;
      throw new Problem('BAD_PEER', detail);
    }
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

  /** Ends the comparison if clients write more than `MAX_BETWEEN_BYTES` meanwhile: the open digest keeps all of it on the disk. */
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

  /** @throws Problem if this node cannot compare itself at the position of the other node */
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

  /** @returns the stream from the position of the open digest up to `end`, which this node has reached */
  async #between(open: OpenDigest, end: Offset, over: AbortSignal): Promise<Buffer[]> {
    const { head, world } = this.#parts;
    const turns = new Turns(world);
    const parts: Buffer[] = [];
    for (let at = open.position.offset; at < end; ) {
      over.throwIfAborted();
      if (standing(head.history, open.position) !== 'shared' || head.offset < end)
        throw new Problem('UNKNOWN_HISTORY', 'a full resync has replaced what this node held');
      // The parts move to another thread. A view would move the whole memory that it is a part of, so each part is copied.
      const part = Buffer.from(head.read(at, PART_BYTES).subarray(0, end - at));
      parts.push(part);
      at = (at + part.length) as Offset;
      await turns.next();
    }
    return parts;
  }
}

/** @returns the detail of the problem that reports why the other node has no digest */
function told(url: string, { code, detail }: NoDigest): string {
  if (code === 'BAD_PEER') return `${httpUrl(url)} ${detail}`;
  return `${httpUrl(url)} says: ${detail}`;
}

/** Whether a comparison may fail with this error although psyncd works: the disk failed, or no comparison was possible now. */
export function isExpected(error: unknown): boolean {
  return error instanceof Problem || error instanceof StorageError;
}
