/**
 * psyncd/client: the common REST calls, the feed of changes, and a live copy of the data, for browsers and Node. It
 * only needs `fetch` and `WebSocket`.
 */

// The feed, and the live copy
export type * from './answers.ts';
export { ApiError, type ErrorCode } from './api-error.ts';
export { FollowError } from './ending.ts';
export type * from './event.ts';
export { type ConnectionState, type FollowOptions, follow } from './follow.ts';
export type { FollowLimits, FollowTarget } from './follow-options.ts';
export type { Change } from './mirror/copy.ts';
export type { Entry, Value } from './mirror/entry.ts';
export { indexedDbStorage } from './mirror/indexed-db.ts';
export { Mirror, mirror } from './mirror/mirror.ts';
export { MirrorClosedError, type MirrorEvents, type MirrorState } from './mirror/mirror-events.ts';
export type { MirrorOptions } from './mirror/mirror-options.ts';
export { LostPositionError } from './mirror/position-waiters.ts';
export {
  type MirrorStorage,
  memoryStorage,
  StorageConflict,
  type StorageUpdate,
  type StoredCopy,
} from './mirror/storage.ts';
export type { ChangeListener, EntryFilter } from './mirror/subscriptions.ts';
export type { ByteStream, Fetch, Signal, SocketClass } from './platform.ts';
export type { BatchOperation } from './request/batch-operation.ts';
export type * from './request/options.ts';
export type { Token, Transport } from './request/token.ts';
// Requests
export { type BatchResult, Client, type ReplicaAnswer, type SetOptions, UnsendableKey } from './rest.ts';
