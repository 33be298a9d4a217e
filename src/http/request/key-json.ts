/** Values that are JSON: how they are sent and patched. */
import type { Patch } from '../../keyspace/json/merge-patch.ts';
import { Refusal } from '../../keyspace/refusal.ts';
import { type PreparedPatch, patchedSteps } from '../../keyspace/write.ts';
import type { Node } from '../../node/node.ts';
import { Problem } from '../../node/problem.ts';
import { acceptedOf } from './accept.ts';
import { inSlices } from './slices.ts';

const BYTES_TYPE = 'application/octet-stream';
const JSON_TYPE = 'application/json';
const FORMS = [BYTES_TYPE, JSON_TYPE] as const;

/** Whether the client prefers JSON to bytes. */
export function wantsJson(accept: string | undefined): boolean {
  return acceptedOf(accept, FORMS) === JSON_TYPE;
}

/**
 * Media type of the answer.
 * @param isJson whether the value is JSON; called only if it matters
 * @throws Problem NOT_ACCEPTABLE
 */
export function typeOf(accept: string | undefined, isJson: () => boolean): string {
  const wanted = acceptedOf(accept, FORMS);
  if (wanted === null) {
    throw new Problem('NOT_ACCEPTABLE', `a value is ${BYTES_TYPE}, or ${JSON_TYPE} if it is JSON`);
  }
  if (wanted !== JSON_TYPE || isJson()) return wanted;
  // The value is not JSON; the client may still accept plain bytes.
  const bytesWanted = acceptedOf(accept, [BYTES_TYPE]);
  if (bytesWanted !== null) return bytesWanted;
  throw new Problem('NOT_ACCEPTABLE', `the value is not JSON; it can be had as ${BYTES_TYPE}`);
}

/** Applies a patch to a large value before the write turn, which would otherwise block all other work. */
export async function preparedPatch(
  node: Node,
  key: string,
  patch: Patch,
): Promise<{ prepared?: PreparedPatch }> {
  const before = node.get(key)?.value;
  if (before === undefined) return {};
  try {
    return { prepared: { before, after: await inSlices(before.length, patchedSteps(key, before, patch)) } };
  } catch (error) {
    if (error instanceof Refusal) return { prepared: { before, after: error } };
    throw error;
  }
}
