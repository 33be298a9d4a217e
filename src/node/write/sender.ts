/** The sender of a write or of a change of the role, who may lose the right to it while it waits for its turn. */
import type { Problem } from '../problem.ts';

export interface Sender {
  /** Name of the client, by which limits count. */
  readonly client: string;
  /** Why nothing may be done for it any more; null: it may go on. */
  readonly over: Problem | null;
  /**
   * Called by the write turn right before it decides a write, and by the roles right before they change.
   * @returns `over`; null: it is being carried out from now on, whatever happens to the right
   */
  atDecision(): Problem | null;
}

/** A sender who hears that it is over. */
export interface WatchedSender extends Sender {
  /** Aborts when the sender has gone, or has lost the right. */
  readonly signal: AbortSignal;
}

/** Decides a change that is made at once. @param sender null: the node itself @throws Problem `Sender.over` */
export function mustDecide(sender: Sender | null): void {
  const over = sender?.atDecision() ?? null;
  if (over !== null) throw over;
}
