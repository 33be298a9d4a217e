import type { MirrorState } from 'psyncd-client';
import { useMirrorState } from 'psyncd-client/react';
import { entries } from './live.ts';

/** Shows whether the list is up to date. */
export function Connection() {
  const state = useMirrorState(entries);
  return (
    <p id="state" className={state.kind} role="status">
      {words(state)}
    </p>
  );
}

function words(state: MirrorState): string {
  switch (state.kind) {
    case 'live':
      return 'live';
    case 'syncing':
      return `loading: ${state.received} of ${state.expected ?? 'many'}`;
    case 'waiting':
      return `not connected: ${state.detail}`;
    case 'failed':
      return `stopped: ${state.error.message}`;
    default:
      return state.kind;
  }
}
