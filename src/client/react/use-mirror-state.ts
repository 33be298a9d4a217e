import { useCallback, useSyncExternalStore } from 'react';
import type { MirrorState } from '../mirror/mirror-events.ts';
import type { LiveMirror } from './live-mirror.ts';

const LOADING: MirrorState = /* @__PURE__ */ Object.freeze({ kind: 'loading' });

/**
 * Reads the state of a mirror: whether it is live, or what it waits for. On the server, and while the browser takes
 * over what the server rendered, the state is `loading`.
 * @param mirror null: there is none yet, as if it were loading
 */
export function useMirrorState(mirror: Pick<LiveMirror, 'state' | 'on'> | null): MirrorState {
  const subscribe = useCallback(
    (listener: () => void) => mirror?.on('state', listener) ?? (() => undefined),
    [mirror],
  );
  return useSyncExternalStore(
    subscribe,
    () => mirror?.state ?? LOADING,
    () => LOADING,
  );
}
