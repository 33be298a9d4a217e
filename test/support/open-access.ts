/** A node without tokens, where everybody may do everything, and without settings for who may call it. */
import { Access } from '../../src/access/access.ts';
import { systemWorld } from '../../src/runtime/system-world.ts';
import { KnownHosts } from '../../src/web/hosts.ts';
import type { Admission } from '../../src/web/origins.ts';
import { NO_PROXIES } from '../../src/web/proxies.ts';

/** Settings of a node without names of its own, allowed origins or proxies in front. */
export const NO_SETTINGS: Admission = {
  hosts: new KnownHosts([]),
  allowedOrigins: [],
  proxies: NO_PROXIES,
  publicUrl: null,
};

const silent = (): void => undefined;

export function openAccess(): Access {
  const log = { info: silent, warn: silent, error: silent };
  return new Access(log, { anonymousRights: [], authFailures: 10 }, systemWorld);
}
