/** Parts for routes that are registered only so that their schemas can be read. Nobody calls the routes, so there is no node. */
import type { Access } from '../src/access/access.ts';
import type { ApiParts } from '../src/http/api-routes.ts';
import type { Node } from '../src/node/node.ts';
import { Tally } from '../src/node/ports/counts.ts';
import { version } from '../src/runtime/version.ts';
import { KnownHosts } from '../src/web/hosts.ts';
import { NO_PROXIES } from '../src/web/proxies.ts';

export const DESCRIBED: ApiParts = {
  node: {} as Node,
  access: {} as Access,
  limits: { refused: new Tally(), requests: null, followers: null },
  metrics: { scrape: () => Promise.reject(new Error('there is no node')) },
  tokens: { path: '', isUsed: false, reload: async () => true },
  settings: {
    version: version(),
    startedAt: 0,
    current: () => ({}),
    change: () => null,
    hosts: new KnownHosts([]),
    allowedOrigins: [],
    proxies: NO_PROXIES,
    publicUrl: null,
    bodyTimeoutMs: 0,
    requestMemoryBytes: 0,
    logsRequests: false,
    loopLag: { p99Ms: 0, maxMs: 0 },
    journal: { commits: 0, fsyncs: 0 },
  },
};
