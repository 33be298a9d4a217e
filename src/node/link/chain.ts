/**
 * The chain of masters above a node: the node asks its future master whom it follows, then that one's master, and so on.
 *
 * A node shows its token only to the master that an operator has named, so masters further up may refuse to answer it. Then the named
 * master says which masters stand above it (masters-above.ts), because each of them shows its own token to the next.
 */
import {
  canonicalUpstream,
  notAnUpstream,
  parseUpstream,
  upstreamProblem,
} from '../../replication/upstream.ts';
import { type AskPeer, MAX_CHAIN, type MasterAbove, noAccessDetail } from '../ports/peers.ts';
import type { World } from '../ports/world.ts';

/** Time after which a node asks no further master. */
const CHAIN_LOOK_MS = 3_000;

export interface ChainProblem {
  /**
   * CIRCLE: the chain leads back to the asking node or to itself. BAD_PEER: a node on it names an upstream that is no URL. UNKNOWN: a
   * node on it refuses to say whom it follows, or cannot say who stands above it.
   */
  readonly code: 'CIRCLE' | 'BAD_PEER' | 'UNKNOWN';
  /** The problem in words. */
  readonly detail: string;
}

/** The node that looks at the chain above it. */
export interface ChainEnd {
  /** ID of its process. */
  readonly nodeId: string;
  /** URL that it listens on, `ws://HOST:PORT`; null: not known yet. */
  readonly listeningUrl: string | null;
  readonly ask: AskPeer;
  readonly world: World;
}

/**
 * Checks the chain of masters above a node.
 * @param url the master that the node would follow, `ws://HOST:PORT`
 * @returns the reason why the node must not follow that master, or UNKNOWN; null if it finds none. The check ends when that master does
 *   not answer
 */
export async function chainProblem(url: string, end: ChainEnd): Promise<ChainProblem | null> {
  const { ask, world } = end;
  const path = new Path(end, url);
  const until = world.monotonic() + CHAIN_LOOK_MS;
  for (let next = url; path.length <= MAX_CHAIN && world.monotonic() < until; ) {
    // The masters above are named by others.
    const isNamed = next === url;
    const peer = await ask(next, isNamed);
    if (peer === null || typeof peer === 'string') {
      if (!isNamed) return relayedProblem(url, end);
      return peer === null ? null : unknown(noAccessDetail(url, peer));
    }
    if (peer.nodeId === end.nodeId) return path.atThisNode();
    if (peer.upstream === null) return null;
    const problem = path.add(peer.upstream);
    if (problem !== null) return problem;
    next = path.last;
  }
  return unknown(`the chain of masters is too long, or answers too slowly: this node -> ${path}`);
}

/** Checks the masters that the named one sees above itself. */
async function relayedProblem(url: string, end: ChainEnd): Promise<ChainProblem | null> {
  const peer = await end.ask(url, true, [end.nodeId]);
  if (peer === null) return unknown(`${url} does not say which masters stand above it`);
  if (typeof peer === 'string') return unknown(noAccessDetail(url, peer));
  const path = new Path(end, url);
  let last: MasterAbove = { url, nodeId: peer.nodeId };
  for (const master of peer.masters ?? unnamed(peer.upstream)) {
    const problem = path.add(master.url);
    if (problem !== null) return problem;
    if (master.nodeId === end.nodeId) return path.atThisNode();
    last = master;
  }
  return last.nodeId === null
    ? unknown(`${last.url} does not say whom it follows, so there may be a circle: this node -> ${path}`)
    : null;
}

function unnamed(upstream: string | null): readonly MasterAbove[] {
  return upstream === null ? [] : [{ url: upstream, nodeId: null }];
}

/** The URLs from the future master upwards. */
class Path {
  readonly #end: ChainEnd;
  readonly #urls: string[];

  constructor(end: ChainEnd, url: string) {
    this.#end = end;
    this.#urls = [url];
  }

  get length(): number {
    return this.#urls.length;
  }

  get last(): string {
    return this.#urls.at(-1) as string;
  }

  /** Adds the URL that the last node on the path follows, as that one says. @returns what is wrong with it, or null */
  add(said: string): ChainProblem | null {
    const above = parseUpstream(said);
    if (above === null) {
      return {
        code: 'BAD_PEER',
        detail: `${this.last} says whom it follows, and ${notAnUpstream(said)}`,
      };
    }
    const next = canonicalUpstream(above);
    if (this.#urls.includes(next)) return circle(`a circle: ${this} -> ${next}`);
    this.#urls.push(next);
    return upstreamProblem(next, this.#end.listeningUrl) === null ? null : this.atThisNode();
  }

  /** @returns the problem that the last URL is that of the node which looks */
  atThisNode(): ChainProblem {
    return circle(
      this.length === 1
        ? `${this.last} is this node itself`
        : `a circle: this node -> ${this}, which is this node`,
    );
  }

  toString(): string {
    return this.#urls.join(' -> ');
  }
}

function circle(detail: string): ChainProblem {
  return { code: 'CIRCLE', detail };
}

function unknown(detail: string): ChainProblem {
  return { code: 'UNKNOWN', detail };
}
