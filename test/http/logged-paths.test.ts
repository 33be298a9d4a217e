/** The log names the route of a request that fails, and none of what the client has chosen in its path. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { createServer, type ServerParts } from '../../src/http/server.ts';
import type { Log } from '../../src/node/ports/world.ts';
import { systemWorld } from '../../src/runtime/system-world.ts';
import { clientLimits } from '../../src/web/client-limits.ts';
import { NO_PROXIES } from '../../src/web/proxies.ts';
import { RequestCounts } from '../../src/web/record/request-counts.ts';
import { NO_SETTINGS, openAccess } from '../support/open-access.ts';
import { exchanged, rawRequest } from '../support/raw-http.ts';
import { SILENT } from '../support/silent-log.ts';

test('the log of a request that fails has its route, however the path is spelled, and no key', async (t) => {
  const fault = (): never => {
    throw new TypeError('a fault');
  };
  const node = {
    closing: false,
    role: 'master',
    position: { runId: 'a'.repeat(40), offset: 1 },
    writeProblem: null,
    ...{ get: fault, read: fault, reads: fault, has: fault, write: fault, snapshot: fault, page: fault },
  };
  const access = openAccess();
  const limits = clientLimits(
    { rateLimit: 0, maxConnectionsPerToken: 0, maxFollowersPerToken: 0 },
    access,
    NO_PROXIES,
    systemWorld.monotonic,
  );
  const settings = { ...NO_SETTINGS, bodyTimeoutMs: 60_000, requestMemoryBytes: 1e9, logsRequests: false };
  const paths: unknown[] = [];
  const log: Log = {
    ...SILENT,
    error: (event, fields) => {
      if (event === 'request-failed') paths.push(fields?.path);
      assert.ok(!JSON.stringify({ ...fields }).includes('secret'), JSON.stringify(fields));
    },
  };
  const counts = new RequestCounts();
  const upgrade = (): void => undefined;
  const parts = { node, access, accessLog: null, counts, limits, log, settings, tls: null, upgrade };
  const server = await createServer({ ...parts, version: '0' } as unknown as ServerParts);
  const port = await server.listen('127.0.0.1', 0, 100);
  t.after(async () => {
    server.closeAllConnections();
    await server.close();
  });
  for (const [method, path, route] of [
    ['GET', '/v1/keys/secret', '/v1/keys/{key}'],
    ['GET', '/v1/keys/secret?', '/v1/keys/{key}'],
    ['POST', '/v1/keys/a/secret/append', '/v1/keys/{key}/append'],
    ['GET', '/v1/%6beys/secret', '/v1/keys/{key}'],
    ['GET', '/%76%31/k%65ys/secret', '/v1/keys/{key}'],
    ['PUT', '/v1/%6beys/secret', '/v1/keys/{key}'],
    ['DELETE', '/v1/%6beys/secret/expiry', '/v1/keys/{key}/expiry'],
    ['POST', '/v1/keys/secret/increment', '/v1/keys/{key}/increment'],
    ['POST', '/v1/%6beys/secret/incremen%74', '/v1/keys/{key}/increment'],
  ] as const) {
    paths.length = 0;
    const [answer] = await exchanged({ port }, [rawRequest(method, path)]);
    assert.equal(answer?.status, 500, `${method} ${path}`);
    assert.deepEqual(paths, [route], `${method} ${path}`);
  }
});
