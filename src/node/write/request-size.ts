/** What a write request takes, before its turn and after it. */
import { Refusal } from '../../keyspace/refusal.ts';
import type { PreparedPatch, WriteRequest } from '../../keyspace/write.ts';

/** What a request takes beside its values, roughly. */
const REQUEST_BYTES = 1_024;
/** What an entry takes in the overlay beside its value, in bytes, roughly. */
const ENTRY_BYTES = 128;

/** What a request keeps in memory while it waits. */
export function bytesOf(request: WriteRequest): number {
  switch (request.kind) {
    case 'set':
    case 'append':
      return REQUEST_BYTES + request.value.length;
    case 'merge-patch':
      return REQUEST_BYTES + request.patchBytes + preparedBytes(request.prepared);
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

function preparedBytes(prepared: PreparedPatch | undefined): number {
  if (prepared === undefined) return 0;
  return prepared.before.length + (prepared.after instanceof Refusal ? 0 : prepared.after.length);
}

/** What a bulk request brings into the overlay, in bytes, about. */
export function overlayBytesOf(request: WriteRequest): number {
  switch (request.kind) {
    case 'set':
    case 'append':
      return ENTRY_BYTES + request.value.length;
    case 'merge-patch': {
      const after = request.prepared?.after;
      return (
        ENTRY_BYTES + (after === undefined || after instanceof Refusal ? request.patchBytes : after.length)
      );
    }
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
