/** A node without tokens, where everybody may do everything, and without settings for who may call it. */
import { Access } from '../../src/access/access.ts';
import { systemWorld } from '../../src/runtime/system-world.ts';
import { UpstreamTls } from '../../src/tls/upstream-tls.ts';
import { KnownHosts } from '../../src/web/hosts.ts';
import type { Admission } from '../../src/web/origins.ts';
import { NO_PROXIES } from '../../src/web/proxies.ts';
import { SILENT } from './silent-log.ts';

/** Settings of a node without names of its own, allowed origins or proxies in front. */
export const NO_SETTINGS: Admission = {
  hosts: new KnownHosts([]),
  allowedOrigins: [],
  proxies: NO_PROXIES,
  publicUrl: null,
};

/** Everybody may do everything. */
export function openAccess(): Access {
  return new Access(SILENT, { anonymousRights: [], authFailures: 10 }, systemWorld);
}

/** TLS towards other nodes with the CAs of the system and without a certificate. */
export function systemTls(): UpstreamTls {
  const settings = {
    upstreamTokenFile: null,
    upstreamCa: null,
    upstreamCaOnly: false,
    upstreamCert: null,
    upstreamKey: null,
  };
  return new UpstreamTls(settings, systemWorld, SILENT);
}
