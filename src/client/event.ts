/**
 * Events of the feed (`psync.v1.json`): their types, and how to parse them.
 *
 * Unknown parts are no error, because a newer node may send them: unknown members are kept, and unknown types of events
 * are skipped.
 */
import type { CheckAnswer } from './answers.ts';

/**
 * An entry as the node sends it: `value` is text, or base64 for bytes that are not UTF-8 and for text that JSON would
 * escape a lot.
 */
export interface SentEntry {
  readonly key: string;
  readonly value: string;
  readonly encoding: 'utf8' | 'base64';
  /** Offset of the end of the write that last set the entry: the same number on every node. */
  readonly version: number;
  /** Time of expiry in milliseconds since 1970; null: the entry does not expire. */
  readonly expiresAt: number | null;
}

/** One change: within a batch, or as an event with a position of its own. */
export type FeedChange =
  | ({ readonly type: 'set' } & SentEntry)
  | { readonly type: 'delete'; readonly key: string }
  | { readonly type: 'expiry'; readonly key: string; readonly expiresAt: number | null }
  /** All entries were deleted. */
  | { readonly type: 'flush' };

/** Reason for a snapshot; a newer node may have other reasons. */
export type ResetReason = NonNullable<CheckAnswer['reason']> | (string & {});

export interface ResetEvent {
  readonly type: 'reset';
  /** Position of the snapshot; do not resume from it before `synced`. */
  readonly position: string;
  readonly reason: ResetReason;
  /** Number of entries that follow, as far as the node knows. */
  readonly keys: number;
}

/** Keep the copy: the next events follow this position. Discard an incomplete snapshot. */
export interface ContinueEvent {
  readonly type: 'continue';
  readonly position: string;
  /**
   * Head of the node: a follower has caught up once it has received this or a later position. Older nodes do not state
   * it.
   */
  readonly head?: string;
}

/** An event that changes the copy, with a position. Apply it as a whole. */
export type ChangeEvent = (
  | FeedChange
  | { readonly type: 'batch'; readonly changes: readonly FeedChange[] }
) & { readonly position: string };

export type FeedEvent =
  /** Start of a snapshot: `entry` events follow, then `synced`. Keep the old copy until then. */
  | ResetEvent
  | ({ readonly type: 'entry' } & SentEntry)
  /** End of a snapshot: the copy is exactly the entries since `reset`. */
  | { readonly type: 'synced'; readonly position: string }
  | ContinueEvent
  | ChangeEvent
  /** No entry with your prefixes has changed up to this position. */
  | { readonly type: 'bookmark'; readonly position: string }
  /** The follower waits for its snapshot, because other followers are receiving theirs. */
  | { readonly type: 'waiting' }
  /** The node is about to close the connection for this reason; `position`, if present, is where to resume. */
  | {
      readonly type: 'error';
      readonly code: string;
      readonly detail: string;
      readonly position?: string;
    };

/** An event that concerns the connection alone: its token expires then, and the connection ends. */
export interface ExpiringEvent {
  readonly type: 'expiring';
  /** Unix time in milliseconds. */
  readonly expiresAt: number;
}

/**
 * Parses a message.
 * @param message one event in JSON
 * @param prefixes those that the node was asked for: each key has one of them
 * @returns the event, with any unknown members; null: its type is unknown; undefined: it is not an event of the feed
 */
export function parseEvent(
  message: unknown,
  prefixes: readonly string[],
): FeedEvent | ExpiringEvent | null | undefined {
  let event: Members | null;
  try {
    event = JSON.parse(message as string);
  } catch {
    return undefined;
  }
  if (!isText(event?.type)) return undefined;
  const isKnown =
    conforms(EVENTS, event, prefixes) ?? (conforms(CHANGES, event, prefixes) && isText(event.position));
  return isKnown === false ? undefined : isKnown && (event as unknown as FeedEvent);
}

type Members = Readonly<Record<string, unknown>>;
/** Checks of an event's members. */
type Checks = Readonly<
  Record<string, (member: unknown, prefixes: readonly string[], event: Members) => boolean>
>;

/** Most entries that a node may have. */
const MAX_KEYS = 2 ** 32;

const ENTRY: Checks = {
  key: isKey,
  value: isText,
  encoding: isEncoding,
  version: isNumber,
  expiresAt: isTime,
};
const CHANGES: Readonly<Record<FeedChange['type'], Checks>> = {
  set: ENTRY,
  delete: { key: isKey },
  expiry: { key: isKey, expiresAt: isTime },
  flush: {},
};
const POSITION: Checks = { position: isText };
const EVENTS: Readonly<Record<Exclude<FeedEvent['type'] | 'expiring', FeedChange['type']>, Checks>> = {
  reset: { position: isText, reason: isText, keys: isCount },
  entry: ENTRY,
  synced: POSITION,
  continue: { position: isText, head: isTextOrAbsent },
  batch: { position: isText, changes: areChanges },
  bookmark: POSITION,
  waiting: {},
  expiring: {},
  error: { code: isText, detail: isText, position: isTextOrAbsent },
};

/** Unlike an unknown event, an unknown change cannot be skipped, because the copy would lack it. */
function areChanges(changes: unknown, prefixes: readonly string[]): boolean {
  return Array.isArray(changes) && changes.every((each) => conforms(CHANGES, each, prefixes));
}

/** @returns whether it is an entry of the feed or of a page, with a key that has one of the prefixes */
export function isEntry(entry: unknown, prefixes: readonly string[]): entry is SentEntry {
  return conforms({ entry: ENTRY }, { ...(entry as object), type: 'entry' }, prefixes) === true;
}

/** @returns whether the members are what the table says; null: it does not have the type */
function conforms(
  table: Readonly<Record<string, Checks>>,
  event: Members | null,
  prefixes: readonly string[],
): boolean | null {
  const type = event?.type as string;
  if (!Object.hasOwn(table, type)) return null;
  return Object.entries(table[type] as Checks).every(([name, isRight]) =>
    isRight((event as Members)[name], prefixes, event as Members),
  );
}

/** @returns whether it is a key that has one of the prefixes */
export function isKey(key: unknown, prefixes: readonly string[]): key is string {
  return isText(key) && prefixes.some((prefix) => key.startsWith(prefix));
}

export function isText(value: unknown): value is string {
  return typeof value === 'string';
}

function isTextOrAbsent(value: unknown): boolean {
  return isText(value ?? '');
}

/** @returns whether it is a whole number from 0 on: pages know pending writes by negative versions */
export function isNumber(value: unknown): boolean {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}

export function isTime(value: unknown): boolean {
  return value === null || isNumber(value);
}

/** @returns whether it is a number of entries that a node may have */
function isCount(value: unknown): boolean {
  return isNumber(value) && (value as number) <= MAX_KEYS;
}

/** @returns whether it is the encoding of the entry's value. Of base64 it is what `atob` accepts; that is not called, because it takes time. */
function isEncoding(encoding: unknown, _prefixes: unknown, { value }: Members): boolean {
  // The value is text: the table has it before the encoding.
  return encoding === 'base64'
    ? (value as string).length % 4 === 0 && /^[a-z\d+/]*={0,2}$/i.test(value as string)
    : encoding === 'utf8';
}

/** @returns bytes of their own for bytes; anything else as it is */
export function own<T>(value: T): T {
  return value instanceof Uint8Array ? (new Uint8Array(value) as T) : value;
}
