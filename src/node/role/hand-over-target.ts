/**
 * The process that a node asks to become the master. `/v1/replication` names it, and the target of a hand-over takes over only if
 * its own master names it there.
 */
import type { LinkStatus } from '../link/link.ts';
import type { AskPeer } from '../ports/peers.ts';
import type { StateStore } from '../ports/state-store.ts';
import type { Log } from '../ports/world.ts';
import { logUnexpected, unattended } from '../unattended.ts';

interface TargetParts {
  readonly ask: AskPeer;
  readonly log: Log;
  readonly state: StateStore;
}

export class HandOverTarget {
  readonly #parts: TargetParts;
  #nodeId: string | null = null;

  constructor(parts: TargetParts) {
    this.#parts = parts;
  }

  /** @returns the status of the link, with the ID of the process while this node hands over; null: not known yet */
  shownIn(status: LinkStatus): LinkStatus {
    return this.#parts.state.handingOver ? { ...status, handsOverTo: this.#nodeId } : status;
  }

  /** Names the process, because it has answered under its URL. */
  name(nodeId: string): void {
    this.#nodeId = nodeId;
  }

  /** Asks which process is behind the URL now: this node or the target may have restarted. */
  lookAgain(): void {
    const { ask, log, state } = this.#parts;
    const { upstream } = state;
    if (upstream === null) return;
    const looked = ask(upstream, true).then((peer) => {
      if (typeof peer === 'object' && peer !== null && state.upstream === upstream) this.name(peer.nodeId);
    });
    unattended(looked, (error) => logUnexpected(log, 'target of the hand-over', error));
  }
}
