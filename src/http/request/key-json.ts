/** Values that are JSON or text: how they are sent and patched. */
import { isUtf8 } from 'node:buffer';
import type { IncomingHttpHeaders } from 'node:http';
import type { Patch } from '../../keyspace/json/merge-patch.ts';
import { Refusal } from '../../keyspace/refusal.ts';
import { type PreparedPatch, patchedSteps } from '../../keyspace/write.ts';
import type { Node } from '../../node/node.ts';
import { Problem } from '../../node/problem.ts';
import { isNavigation } from '../../web/origins.ts';
import { acceptedOf } from './accept.ts';
import { inSlices } from './slices.ts';

const BYTES_TYPE = 'application/octet-stream';
const JSON_TYPE = 'application/json';
const TEXT_TYPE = 'text/plain';
/** Bytes come first: whoever takes anything gets them. */
const FORMS = [BYTES_TYPE, JSON_TYPE, TEXT_TYPE] as const;
type Form = (typeof FORMS)[number];
const OTHERS: ReadonlySet<unknown> = new Set<Form>([JSON_TYPE, TEXT_TYPE]);

/** Whether the value has to be read to know the media type of the answer. */
export function dependsOnValue(accept: string | undefined): boolean {
  return OTHERS.has(acceptedOf(accept, FORMS));
}

/** Whether the client prefers JSON. */
export function wantsJson(accept: string | undefined): boolean {
  return acceptedOf(accept, FORMS) === JSON_TYPE;
}

/** What a value is, beside bytes; each is called only if it matters. */
export interface Kinds {
  readonly isJson: () => boolean;
  readonly isText: () => boolean;
}

/** @param isJson whether the value is JSON; called only if it matters */
export function kindsOf(value: Buffer, isJson: () => boolean): Kinds {
  return { isJson, isText: () => isUtf8(value) };
}

/**
 * Media type of the answer. A value that is not what the client prefers comes as bytes if the client takes them too. What a browser will
 * show comes as text instead of bytes, whatever the value is: it would be downloaded, and a problem is shown.
 * @throws Problem NOT_ACCEPTABLE
 */
export function typeOf(headers: IncomingHttpHeaders, { isJson, isText }: Kinds): string {
  const { accept } = headers;
  const wanted = acceptedOf(accept, FORMS);
  if (wanted === null) {
    throw new Problem(
      'NOT_ACCEPTABLE',
      `a value is ${BYTES_TYPE}, ${JSON_TYPE} if it is JSON, or ${TEXT_TYPE} if it is UTF-8`,
    );
  }
  const fits: Readonly<Record<Form, () => boolean>> = {
    [BYTES_TYPE]: () => true,
    [JSON_TYPE]: isJson,
    [TEXT_TYPE]: isText,
  };
  const found = [wanted, ...FORMS].find((form) => acceptedOf(accept, [form]) !== null && fits[form]());
  if (found === TEXT_TYPE || (found === BYTES_TYPE && isNavigation(headers))) {
    return `${TEXT_TYPE}; charset=utf-8`;
  }
  if (found !== undefined) return found;
  const lack = wanted === JSON_TYPE ? 'JSON' : 'UTF-8';
  throw new Problem('NOT_ACCEPTABLE', `the value is not ${lack}; it can be had as ${BYTES_TYPE}`);
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
