/** JSON Merge Patch, RFC 7396, and what keeps JSON from being a trap. */

export type Json = null | boolean | number | string | readonly Json[] | { readonly [name: string]: Json };

/** Deeper JSON is refused: writing it out again would overflow the stack. */
export const MAX_JSON_DEPTH = 128;

/** RFC 7396, section 2: null removes a member, objects are merged, everything else replaces. */
export function mergePatch(target: Json, patch: Json): Json {
  if (!isObject(patch)) return patch;
  // A Map, because assigning `__proto__` to an object would not make a member of it.
  const members = new Map(isObject(target) ? Object.entries(target) : []);
  for (const [name, value] of Object.entries(patch)) {
    if (value === null) members.delete(name);
    else members.set(name, mergePatch(members.get(name) ?? null, value));
  }
  return Object.fromEntries(members);
}

/** Whether arrays and objects are nested more than 128 levels. Does not recurse itself. */
export function isTooDeep(json: unknown): boolean {
  let level = isContainer(json) ? [json] : [];
  for (let depth = 1; level.length > 0; depth += 1) {
    if (depth > MAX_JSON_DEPTH) return true;
    const below: object[] = [];
    for (const container of level) {
      const values: readonly unknown[] = Array.isArray(container) ? container : Object.values(container);
      for (const value of values) if (isContainer(value)) below.push(value);
    }
    level = below;
  }
  return false;
}

/** A number that a double does not hold exactly: 2^53 and beyond, many digits, or a large exponent. */
const INEXACT = /\d{16}|\d[eE][+-]?\d{3}/;

/**
 * Parses JSON so that writing it out again does not change a number: one that a double would round is kept as text.
 * @throws SyntaxError
 */
export function parseExact(text: string): unknown {
  if (!INEXACT.test(text)) return JSON.parse(text);
  return JSON.parse(text, (_name: string, value: unknown, context?: { readonly source?: string }) => {
    const source = context?.source;
    if (typeof value !== 'number' || source === undefined || String(value) === source) return value;
    return rawJSON(source);
  });
}

/** In Node since 21; TypeScript's library does not know them yet. */
export const { rawJSON, isRawJSON } = JSON as unknown as {
  rawJSON(text: string): unknown;
  isRawJSON(value: unknown): boolean;
};

function isContainer(value: unknown): value is object {
  return typeof value === 'object' && value !== null && !isRawJSON(value);
}

function isObject(json: Json): json is { readonly [name: string]: Json } {
  return isContainer(json) && !Array.isArray(json);
}
