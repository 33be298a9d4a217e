/** Reads what a command shows out of an answer, which may come from something that is no node. */

import { messageOf } from '../../node/ports/failures.ts';
import { CommandError } from '../command-error.ts';

/**
 * A template for text with members of an answer, within `fromAnswer`.
 * @returns the text
 * @throws TypeError if a member is neither text nor a finite number
 */
export function told(parts: TemplateStringsArray, ...members: readonly (string | number | null)[]): string {
  for (const member of members) {
    if (typeof member === 'string' || (typeof member === 'number' && Number.isFinite(member))) continue;
    throw new TypeError(`a member is ${member === null ? 'null' : typeof member}, not text or a number`);
  }
  return String.raw({ raw: parts }, ...members);
}

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
