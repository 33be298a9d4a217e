/** The masters above a node, for another node that wants to follow this one: each node asks the master that it follows itself. */
import { type AskPeer, MAX_CHAIN, type MasterAbove } from '../ports/peers.ts';
import type { StateStore } from '../ports/state-store.ts';

/** Number of looks at the same time; one more gets no answer from the masters above. */
const MAX_LOOKS = 32;
/**
 * Number of looks of one client at the same time, so that a few clients cannot keep all others away while the master hangs. Replicas that
 * share a token are one client, and each of them looks for itself.
 */
const MAX_LOOKS_OF_CLIENT = 4;

interface Parts {
  readonly nodeId: string;
  readonly ask: AskPeer;
  readonly state: Pick<StateStore, 'upstream'>;
}

export class MastersAbove {
  readonly #parts: Parts;
  #looks = 0;
  /** Number of looks of each client that has one. */
  readonly #byClient = new Map<string, number>();

  constructor(parts: Parts) {
    this.#parts = parts;
  }

  /**
   * @param asked IDs of the processes that ask each other, the first one first. The look ends at a node that is among them, and after
   *   `MAX_CHAIN` of them
   * @param client what limits count the asking node by
   * @returns the masters above this node, the nearest first, as they say; at most `MAX_CHAIN`
   */
  async look(asked: readonly string[], client: string): Promise<readonly MasterAbove[]> {
    const { ask, nodeId, state } = this.#parts;
    const url = state.upstream;
    if (url === null) return [];
    const alone = [{ url, nodeId: null }];
    if (asked.includes(nodeId) || asked.length >= MAX_CHAIN || !this.#begin(client)) return alone;
    try {
      const peer = await ask(url, true, [...asked, nodeId]);
      if (peer === null || typeof peer === 'string') return alone;
      const above = peer.masters ?? (peer.upstream === null ? [] : [{ url: peer.upstream, nodeId: null }]);
      return [{ url, nodeId: peer.nodeId }, ...above].slice(0, MAX_CHAIN);
    } finally {
      this.#end(client);
    }
  }

  /** @returns whether there is a place for one more look of the client; then it is taken */
  #begin(client: string): boolean {
    const before = this.#byClient.get(client) ?? 0;
    if (this.#looks >= MAX_LOOKS || before >= MAX_LOOKS_OF_CLIENT) return false;
    this.#looks += 1;
    this.#byClient.set(client, before + 1);
    return true;
  }

  #end(client: string): void {
    this.#looks -= 1;
    const left = (this.#byClient.get(client) ?? 1) - 1;
    if (left === 0) this.#byClient.delete(client);
    else this.#byClient.set(client, left);
  }
}
