/** The masters above a node, for another node that wants to follow this one: each node asks the master that it follows itself. */
import { type AskPeer, MAX_CHAIN, type MasterAbove } from '../ports/peers.ts';
import type { StateStore } from '../ports/state-store.ts';

/** Number of looks at the same time; one more gets no answer from the masters above. */
const MAX_LOOKS = 8;

interface Parts {
  readonly nodeId: string;
  readonly ask: AskPeer;
  readonly state: Pick<StateStore, 'upstream'>;
}

export class MastersAbove {
  readonly #parts: Parts;
  #looks = 0;

  constructor(parts: Parts) {
    this.#parts = parts;
  }

  /**
   * @param asked IDs of the processes that ask each other, the first one first. The look ends at a node that is among them, and after
   *   `MAX_CHAIN` of them
   * @returns the masters above this node, the nearest first, as they say; at most `MAX_CHAIN`
   */
  async look(asked: readonly string[]): Promise<readonly MasterAbove[]> {
    const { ask, nodeId, state } = this.#parts;
    const url = state.upstream;
    if (url === null) return [];
    const alone = [{ url, nodeId: null }];
    if (asked.includes(nodeId) || asked.length >= MAX_CHAIN || this.#looks >= MAX_LOOKS) return alone;
    this.#looks += 1;
    try {
      const peer = await ask(url, true, [...asked, nodeId]);
      if (peer === null || typeof peer === 'string') return alone;
      const above = peer.masters ?? (peer.upstream === null ? [] : [{ url: peer.upstream, nodeId: null }]);
      return [{ url, nodeId: peer.nodeId }, ...above].slice(0, MAX_CHAIN);
    } finally {
      this.#looks -= 1;
    }
  }
}
