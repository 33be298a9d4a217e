/**
 * Estimates the memory that a write request takes: while it waits for its turn, and in the overlay after it. The estimates depend on
 * sizes only. They do not tell what a value is: whether it is JSON, for example.
 */
import type { WriteRequest } from '../../keyspace/write.ts';

/** Memory of a waiting request beside its values, in bytes, roughly. */
const REQUEST_BYTES = 1_024;
/** Memory of an entry of the overlay beside its value, in bytes, roughly. */
const ENTRY_BYTES = 128;

/** @returns the memory that the request takes while it waits, in bytes, roughly */
export function bytesOf(request: WriteRequest): number {
  switch (request.kind) {
    case 'set':
    case 'append':
      return REQUEST_BYTES + request.value.length;
    case 'merge-patch':
      return REQUEST_BYTES + 2 * patchedBytes(request);
    case 'batch':
      return request.operations.reduce((sum, operation) => sum + bytesOf(operation), REQUEST_BYTES);
    case 'load':
      return request.commands.reduce(
        (sum, command) => sum + REQUEST_BYTES + (command.kind === 'set' ? command.value.length : 0),
        REQUEST_BYTES,
      );
    case 'delete-many':
    case 'expire-due':
      return REQUEST_BYTES * (1 + request.keys.length);
    default:
      return REQUEST_BYTES;
  }
}

/** @returns bytes of the patched value, by the sizes of the value and the patch; of the patch alone if nothing is prepared */
function patchedBytes({ patchBytes, prepared }: Extract<WriteRequest, { kind: 'merge-patch' }>): number {
  return patchBytes + (prepared?.before.length ?? 0);
}

/** @returns the memory that the effects of the request take in the overlay, in bytes, roughly */
export function overlayBytesOf(request: WriteRequest): number {
  switch (request.kind) {
    case 'set':
    case 'append':
      return ENTRY_BYTES + request.value.length;
    case 'merge-patch':
      return ENTRY_BYTES + patchedBytes(request);
    case 'batch':
      return request.operations.reduce((sum, operation) => sum + overlayBytesOf(operation), 0);
    case 'load':
      return request.commands.reduce(
        (sum, command) => sum + ENTRY_BYTES + (command.kind === 'set' ? command.value.length : 0),
        0,
      );
    case 'delete-many':
    case 'expire-due':
      return ENTRY_BYTES * request.keys.length;
    default:
      return ENTRY_BYTES;
  }
}
