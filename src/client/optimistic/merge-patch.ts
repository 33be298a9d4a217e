/** JSON Merge Patch (RFC 7396), as the node applies it. */

type Members = Readonly<Record<string, unknown>>;

/** @returns the value with the patch applied: null removes a member, and what is no object replaces the value */
export function mergePatch(target: unknown, patch: unknown): unknown {
  if (!isObject(patch)) return patch;
  const members = new Map(isObject(target) ? Object.entries(target) : []);
  for (const [name, each] of Object.entries(patch)) {
    if (each === null) members.delete(name);
    else members.set(name, mergePatch(members.get(name), each));
  }
  return Object.fromEntries(members);
}

function isObject(value: unknown): value is Members {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
