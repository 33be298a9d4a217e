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
  let level: unknown[] = [json];
  for (let depth = 0; level.length > 0; depth += 1) {
    if (depth > MAX_JSON_DEPTH) return true;
    level = level.flatMap((value) =>
      typeof value === 'object' && value !== null ? Object.values(value) : [],
    );
  }
  return false;
}

function isObject(json: Json): json is { readonly [name: string]: Json } {
  return typeof json === 'object' && json !== null && !Array.isArray(json);
}
