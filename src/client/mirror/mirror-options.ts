/** Options of a mirror. */
import type { FollowOptions } from '../follow.ts';
import type { FollowLimits, FollowTarget } from '../follow-options.ts';
import type { MirrorEvents } from './mirror-events.ts';
import type { MirrorStorage } from './storage.ts';

/** Options of `follow`, except those that the mirror decides: where to begin, and when to end. */
export type MirrorOptions = FollowTarget &
  Omit<FollowLimits, 'queueLength'> &
  Pick<FollowOptions, 'prefix' | 'token' | 'transport'> & {
    /** Called for every change, like `on('change', …)`, but surely registered before the first one. */
    readonly onChange?: ((event: MirrorEvents['change']) => void) | undefined;
    /** Where to store the copy, so that the next mirror with the same storage and prefixes continues from it. */
    readonly storage?: MirrorStorage | undefined;
    /** Most time that a call of the storage may take, in milliseconds; default 10 s. The mirror goes on without it. */
    readonly storageMs?: number | undefined;
    /**
     * Most characters of JSON of the entries of a snapshot, above 0; default 256 Mi. A node that sends more is left for the next URL;
     * if all do, the mirror fails, and keeps its old copy.
     */
    readonly snapshotLength?: number | undefined;
  };
