/**
 * Which schema of keyspace files the two ends of a link know: a snapshot is such a file, so a full resync needs the
 * same on both sides. The stream does not depend on it: a partial resync goes on whatever the schemas are.
 */

/** What a replica announces: `capa keyspace-3`. */
export function schemaCapability(schema: number): string {
  return `keyspace-${schema}`;
}

/**
 * @param capabilities what the replica has announced; if it says nothing of schemas, it checks what it gets itself
 * @param own of this node's keyspace file
 * @returns why it cannot be sent a snapshot, as the line to answer, or null
 */
export function schemaRefusal(capabilities: readonly string[], own: number): string | null {
  const known = capabilities.flatMap((capability) => /^keyspace-(\d{1,9})$/.exec(capability)?.[1] ?? []);
  if (known.length === 0 || known.includes(String(own))) return null;
  return (
    `-SCHEMA a full resync is needed, but the master's keyspace has schema ${own}, the replica's ${known.join(', ')}: ` +
    'upgrade the older one'
  );
}

/** Whether a master's refusal is this one. It says nothing of who is the master: a hand-over is not refused by it. */
export function isSchemaRefusal(detail: string): boolean {
  return detail.startsWith('SCHEMA ');
}
