/**
 * Schema versions of keyspace files at both ends of a link. A snapshot is such a file, so a full resync needs equal
 * versions. The stream does not depend on the schema: a partial resync works with any versions.
 */

/** Capability that a replica announces: `capa keyspace-3`. */
export function schemaCapability(schema: number): string {
  return `keyspace-${schema}`;
}

/**
 * @param capabilities announced by the replica; if it states no schema, it checks the snapshot itself
 * @param own schema of this node's keyspace file
 * @returns the line that refuses a snapshot, or null
 */
export function schemaRefusal(capabilities: readonly string[], own: number): string | null {
  const known = capabilities.flatMap((capability) => /^keyspace-(\d{1,9})$/.exec(capability)?.[1] ?? []);
  if (known.length === 0 || known.includes(String(own))) return null;
  return (
    `-SCHEMA a full resync is needed, but the master's keyspace has schema ${own}, the replica's ${known.join(', ')}: ` +
    'upgrade the older one'
  );
}
