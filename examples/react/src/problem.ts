import { ApiError } from 'psyncd-client';

/** @returns what to tell the user when a write has failed */
export function problemOf(error: unknown): string {
  if (error instanceof ApiError && error.code === 'PRECONDITION_FAILED') {
    return 'Somebody else has changed this task meanwhile.';
  }
  return error instanceof Error ? error.message : String(error);
}
