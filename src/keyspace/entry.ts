/** One entry of the keyspace. */
export interface Entry {
  readonly value: Buffer;
  /** The offset of the end of the command that last set it: the same number on every node. */
  readonly version: number;
  /** Milliseconds since 1970, or null: it does not expire. */
  readonly expiresAt: number | null;
}

/** What there is to say of an entry but its value. */
export interface Outline {
  /** Of the value, in bytes. */
  readonly size: number;
  readonly version: number;
  readonly expiresAt: number | null;
}

export function outlineOf({ value, version, expiresAt }: Entry): Outline {
  return { size: value.length, version, expiresAt };
}

/** Whether the entry is there for a reader at `now` (milliseconds since 1970). */
export function isLive<T extends Pick<Entry, 'expiresAt'>>(entry: T | null, now: number): entry is T {
  return entry !== null && (entry.expiresAt === null || entry.expiresAt > now);
}
