/**
 * The events of the feed (`psync.v1.json`): what each is, and how it is read from its JSON text.
 *
 * What this client does not know is not an error: a newer node may send more members, which are kept, and more types of
 * events, which are skipped.
 */

/** An entry as it is sent: `value` is text, or base64 of bytes that are not UTF-8 or that JSON would escape a lot. */
export interface SentEntry {
  readonly key: string;
  readonly value: string;
  readonly encoding: 'utf8' | 'base64';
  /** The offset of the end of the write that last set it: the same number on every node. */
  readonly version: number;
  /** In milliseconds since 1970; null: it does not expire. */
  readonly expiresAt: number | null;
}

/** One change, as it stands in a batch, or with a position of its own as an event. */
export type FeedChange =
  | ({ readonly type: 'set' } & SentEntry)
  | { readonly type: 'delete'; readonly key: string }
  | { readonly type: 'expiry'; readonly key: string; readonly expiresAt: number | null }
  /** Everything is gone. */
  | { readonly type: 'flush' };

/** Why a snapshot is sent; a newer node may have other words. */
export type ResetReason =
  | 'first-sync'
  | 'forced'
  | 'unknown-run-id'
  | 'ahead-of-master'
  | 'behind-backlog'
  | 'past-shared-history'
  | 'different-bytes'
  | 'different-data'
  | (string & {});

export interface ResetEvent {
  readonly type: 'reset';
  /** What the snapshot is of; not to be resumed from before `synced`. */
  readonly position: string;
  readonly reason: ResetReason;
  /** How many entries follow, as far as the node knows. */
  readonly keys?: number;
}

/** What you have stays, and what follows comes after this position. A snapshot that has not been completed is void. */
export interface ContinueEvent {
  readonly type: 'continue';
  readonly position: string;
  /** Where the node stands: who has been told a position no earlier has caught up. An older node does not say it. */
  readonly head?: string;
}

/** What changes the copy, each at a position: to be applied as a whole. */
export type ChangeEvent = (
  | FeedChange
  | { readonly type: 'batch'; readonly changes: readonly FeedChange[] }
) & { readonly position: string };

export type FeedEvent =
  /** A snapshot follows: `entry` … `synced`. Keep what you have until then. */
  | ResetEvent
  | ({ readonly type: 'entry' } & SentEntry)
  /** The snapshot is complete: what you have is exactly the entries since `reset`. */
  | { readonly type: 'synced'; readonly position: string }
  | ContinueEvent
  | ChangeEvent
  /** Nothing of yours happened up to here. */
  | { readonly type: 'bookmark'; readonly position: string }
  /** A snapshot will come; others are being given theirs. */
  | { readonly type: 'waiting' }
  /** The connection is about to be closed, and why; `position`, if it is there, is where to go on. */
  | {
      readonly type: 'error';
      readonly code: string;
      readonly detail: string;
      readonly position?: string;
    };

/** What came is not an event of the feed. */
export class FeedFormatError extends Error {
  override readonly name = 'FeedFormatError';
}

/**
 * @param text one JSON event
 * @returns the event, with members that this client does not know; null: a type that it does not know
 * @throws FeedFormatError when it is no event
 */
export function parseEvent(text: string): FeedEvent | null {
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

/** @returns null: a type that is not known */
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
    // A change that is not known would be one that is missed: unlike an event, it cannot be skipped.
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
