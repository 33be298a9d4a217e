/**
 * The commands of the stream are effects, never requests. A stock Redis replica could execute each of them. Times are
 * absolute, in milliseconds since 1970; `null` means that the entry does not expire.
 */
export type Command = SetCommand | DelCommand | ExpireAtCommand | PersistCommand | FlushAllCommand;

/** Longest key in bytes of UTF-8. */
export const MAX_KEY_BYTES = 1_024;
/** Largest value in bytes. */
export const MAX_VALUE_BYTES = 16 * 1024 * 1024;

/** Whether the stream can state this time: whole milliseconds since 1970, from 0 to 2^53 - 1. */
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
 * Commands together with their bytes on the wire. `ends[i]` is the end of `commands[i]`, counted from the start of
 * `bytes`; the last end may be less than `bytes.length`, because EXEC is part of the bytes but not a command.
 * `boundaries` are the places where a position may stop, in order: the end of a single command, or of EXEC. The last
 * one is `bytes.length`.
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
