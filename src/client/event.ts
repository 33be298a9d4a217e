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
  readonly keys?: number;
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

/** A message that is not an event of the feed. */
export class FeedFormatError extends Error {
  override readonly name = 'FeedFormatError';
}

/**
 * Parses a message.
 * @param text one event in JSON
 * @returns the event, with any unknown members; null: its type is unknown
 * @throws FeedFormatError if it is not an event
 */
export function parseEvent(text: string): FeedEvent | ExpiringEvent | null {
  let event: unknown;
  try {
    event = JSON.parse(text);
  } catch {
    throw malformed(text);
  }
  if (!isObject(event)) throw malformed(text);
  const known = isKnown(event);
  if (known === false) throw malformed(text);
  return known === null ? null : (event as unknown as FeedEvent);
}

type Members = Readonly<Record<string, unknown>>;

/** @returns null: the type is unknown */
function isKnown(event: Members): boolean | null {
  switch (event.type) {
    case 'entry':
      return isEntry(event);
    case 'reset':
      return isText(event.position) && isText(event.reason);
    case 'continue':
      return isText(event.position) && isTextOrAbsent(event.head);
    case 'synced':
    case 'bookmark':
      return isText(event.position);
    case 'waiting':
    case 'expiring':
      return true;
    case 'error':
      return isText(event.code) && isText(event.detail) && isTextOrAbsent(event.position);
    case 'batch':
      return isText(event.position) && Array.isArray(event.changes) && event.changes.every(isChange);
    case 'set':
    case 'delete':
    case 'expiry':
    case 'flush':
      return isText(event.position) && isChange(event);
    default:
      return isText(event.type) ? null : false;
  }
}

function isChange(change: unknown): boolean {
  if (!isObject(change)) return false;
  switch (change.type) {
    case 'set':
      return isEntry(change);
    case 'delete':
      return isText(change.key);
    case 'expiry':
      return isText(change.key) && isTime(change.expiresAt);
    // Unlike an unknown event, an unknown change cannot be skipped, because the copy would lack it.
    default:
      return change.type === 'flush';
  }
}

function isEntry({ key, value, encoding, version, expiresAt }: Members): boolean {
  return (
    isText(key) &&
    isText(value) &&
    (encoding === 'utf8' || encoding === 'base64') &&
    typeof version === 'number' &&
    isTime(expiresAt)
  );
}

function isObject(value: unknown): value is Members {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function isText(value: unknown): value is string {
  return typeof value === 'string';
}

function isTextOrAbsent(value: unknown): boolean {
  return value === undefined || isText(value);
}

function isTime(value: unknown): boolean {
  return value === null || typeof value === 'number';
}

function malformed(text: string): FeedFormatError {
  return new FeedFormatError(`not an event of the feed: ${text.slice(0, 80)}`);
}
