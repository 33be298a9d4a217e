/** Reads what a command shows out of an answer, which may come from something that is no node. */

import { messageOf } from '../../node/ports/failures.ts';
import { CommandError } from '../command-error.ts';

/**
 * @param read takes what it needs out of the answer of a node, and has no other effect
 * @returns what `read` returns
 * @throws CommandError if `read` throws, because the answer lacks members or has others in their place
 */
export function fromAnswer<T>(read: () => T): T {
  try {
    return read();
  } catch (error) {
    const reason = messageOf(error);
    throw new CommandError(`the node does not answer like psyncd: ${reason}`);
  }
}
