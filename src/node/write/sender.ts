/** The sender of a write, who may lose the right to it while the write waits for its turn. */
import type { Problem } from '../problem.ts';

export interface Sender {
  /** Why nothing may be done for it any more; null: it may go on. */
  readonly over: Problem | null;
  /**
   * Called by the write turn right before it decides a write.
   * @returns `over`; null: the write is being carried out from now on, whatever happens to the right
   */
  atDecision(): Problem | null;
}
