/**
 * The commands of the stream: effects, never requests. Each is one that a stock Redis replica could execute.
 * Times are absolute, in milliseconds since 1970; `null` means that the entry does not expire.
 */
export type Command = SetCommand | DelCommand | ExpireAtCommand | PersistCommand | FlushAllCommand;

/** The longest key, in bytes of UTF-8. */
export const MAX_KEY_BYTES = 1_024;
/** The largest value, in bytes. */
export const MAX_VALUE_BYTES = 16 * 1024 * 1024;

/** Whether the stream can say it: whole milliseconds since 1970, not before, up to 2^53 - 1. */
export function isTime(value: number): boolean {
  return Number.isSafeInteger(value) && value >= 0;
}

export interface SetCommand {
  readonly kind: 'set';
  readonly key: string;
  readonly value: Buffer;
  readonly expiresAt: number | null;
}
export interface DelCommand {
  readonly kind: 'del';
  readonly keys: readonly string[];
}
export interface ExpireAtCommand {
  readonly kind: 'expire-at';
  readonly key: string;
  readonly expiresAt: number;
}
export interface PersistCommand {
  readonly kind: 'persist';
  readonly key: string;
}
export interface FlushAllCommand {
  readonly kind: 'flush-all';
}

/**
 * Commands and the bytes that they are on the wire.
 * `ends[i]` is where `commands[i]` ends, counted from the start of `bytes`; the last end may be less than
 * `bytes.length`, because EXEC belongs to the bytes and is no command.
 * `boundaries` are the places where a position may stop, in order: the end of a command that stands alone, or of
 * EXEC. The last one is `bytes.length`.
 */
export interface Run {
  readonly bytes: Buffer;
  readonly commands: readonly Command[];
  readonly ends: readonly number[];
  readonly boundaries: readonly number[];
}

export function assertNever(value: never): never {
  throw new Error(`unexpected ${JSON.stringify(value)}`);
}
