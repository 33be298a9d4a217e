/** One entry of the keyspace. */
export interface Entry {
  readonly value: Buffer;
  /** Offset of the end of the command that last set the entry: the same number on every node. */
  readonly version: number;
  /** Time of expiry in milliseconds since 1970; null: the entry does not expire. */
  readonly expiresAt: number | null;
}

/** Everything about an entry except its value. */
export interface Outline {
  /** Size of the value in bytes. */
  readonly size: number;
  readonly version: number;
  readonly expiresAt: number | null;
}

export function outlineOf({ value, version, expiresAt }: Entry): Outline {
  return { size: value.length, version, expiresAt };
}

/** Whether a reader at `now` (milliseconds since 1970) sees the entry. */
export function isLive<T extends Pick<Entry, 'expiresAt'>>(entry: T | null, now: number): entry is T {
  return entry !== null && (entry.expiresAt === null || entry.expiresAt > now);
}
