'use client';

/**
 * psyncd/client/react: hooks for React that read a mirror. A component renders again when what it reads changes, and
 * only then.
 */

export { InitialEntries } from './initial-entries.ts';
export type { LiveMirror } from './live-mirror.ts';
export { useEntries } from './use-entries.ts';
export { useEntry } from './use-entry.ts';
export { useMirrorState } from './use-mirror-state.ts';
