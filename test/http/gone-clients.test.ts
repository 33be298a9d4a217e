/** What a node keeps of clients that left while it did something for them: nothing. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect } from 'node:net';
import test, { type TestContext } from 'node:test';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { Access } from '../../src/access/access.ts';
import { type Opened, Principal, type Watch } from '../../src/access/principal.ts';
import { until } from '../../src/cli/until.ts';
import { createServer, type ServerParts } from '../../src/http/server.ts';
import { systemWorld } from '../../src/runtime/system-world.ts';
import { clientLimits } from '../../src/web/client-limits.ts';
import { NO_PROXIES } from '../../src/web/proxies.ts';
import { RequestCounts } from '../../src/web/record/request-counts.ts';
import { acceptWebSockets } from '../../src/ws/accept.ts';
import { NO_SETTINGS } from '../support/open-access.ts';
import { rawRequest } from '../support/raw-http.ts';
import { SILENT } from '../support/silent-log.ts';

const CLIENTS = 5;
const WEBSOCKET = [
  'Connection: Upgrade',
  'Upgrade: websocket',
  'Sec-WebSocket-Version: 13',
  'Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==',
];

/** Counts what it would end if tokens went. */
class CountingAccess extends Access {
  readonly watched = new Set<Opened>();

  override watch(principal: Principal, opened: Opened): Watch {
    this.watched.add(opened);
    const watch = super.watch(principal, opened);
    const end = (): void => {
      this.watched.delete(opened);
      watch.end();
    };
    return { ...watch, end };
  }
}

/** Work that begins when the test's client asks, and ends when the test says so. */
class Held {
  begun = 0;
  readonly #end = Promise.withResolvers<void>();

  async until<T>(result: T): Promise<T> {
    this.begun += 1;
    await this.#end.promise;
    return result;
  }

  end(): void {
    this.#end.resolve();
  }
}

/** A server of which every request stops where `held` is asked. @param verify finds out whose a signed token is */
async function staged(t: TestContext, held: Held, verify: () => Promise<Principal>) {
  const access = new CountingAccess(
    SILENT,
    { anonymousRights: ['read', 'write', 'replicate'], authFailures: 10 },
    systemWorld,
  );
  access.useVerifier({ takes: () => true, known: () => null, verify });
  /** Signals of requests that got as far as the node. */
  const signals: AbortSignal[] = [];
  const none = { size: 0, version: 1, expiresAt: null };
  const node = {
    closing: false,
    role: 'master',
    position: { runId: 'a'.repeat(40), offset: 0 },
    outline: () => null,
    get: () => null,
    page: () => held.until({ entries: [none], next: null }),
    readEntries: () => held.until({ position: node.position, groups: [], close: () => undefined }),
    reach: (_position: unknown, _timeout: number, gone: AbortSignal) => {
      signals.push(gone);
      return held.until(undefined);
    },
    admitFollower: (request: unknown, gone: AbortSignal) => {
      signals.push(gone);
      return held.until(request);
    },
    serveFollower: () => ({ closed: () => undefined, drained: () => undefined, alive: () => undefined }),
  };
  const counts = new RequestCounts();
  const limits = clientLimits(
    { rateLimit: 0, maxConnectionsPerToken: 0, maxFollowersPerToken: 1_000 },
    access,
    NO_PROXIES,
    systemWorld.monotonic,
  );
  const settings = { ...NO_SETTINGS, bodyTimeoutMs: 60_000, requestMemoryBytes: 1e9, logsRequests: false };
  const upgrade = acceptWebSockets({
    access,
    limits,
    counts,
    log: SILENT,
    accessLog: null,
    admission: NO_SETTINGS,
    headers: () => ({}),
    accept: () => ({}) as never,
    admitFollower: node.admitFollower as never,
    serveFollower: node.serveFollower,
  });
  const parts = { node, access, accessLog: null, counts, limits, log: SILENT, settings, tls: null, upgrade };
  const server = await createServer({ ...parts, version: '0' } as unknown as ServerParts);
  const port = await server.listen('127.0.0.1', 0, 100);
  t.after(async () => {
    server.closeAllConnections();
    await server.close();
  });
  return { access, signals, port };
}

/** Sends the request on connections of its own, and ends these as soon as the server works on all of them. */
async function leave(port: number, request: string, held: Held): Promise<void> {
  const sockets = Array.from({ length: CLIENTS }, () => connect(port, '127.0.0.1'));
  for (const socket of sockets) {
    socket.on('error', () => undefined);
    socket.resume().write(request);
  }
  await until('the server works on the requests', () => held.begun === CLIENTS);
  await Promise.all(
    sockets.map((socket) => {
      const closed = once(socket, 'close');
      socket.resetAndDestroy();
      return closed;
    }),
  );
  await someTurns();
}

/** Lets the server see what has happened to its connections. */
async function someTurns(): Promise<void> {
  for (let turn = 0; turn < 10; turn += 1) await nextTurn();
}

const POSITION = `${'a'.repeat(40)}:1`;
/** Requests that wait for something of the node, by what they ask for. */
const REQUESTS = {
  export: rawRequest('GET', '/v1/export'),
  'an export at a position': rawRequest('GET', `/v1/export?position=${POSITION}`),
  'a page with values': rawRequest('GET', '/v1/keys?values=true'),
  'a value at a position': rawRequest('GET', `/v1/keys/k?position=${POSITION}`),
  'changes as NDJSON': rawRequest('GET', '/v1/changes'),
  'changes as events': rawRequest('GET', '/v1/changes', '', 'Accept: text/event-stream'),
  'changes on a WebSocket': rawRequest(
    'GET',
    '/v1/changes',
    '',
    ...WEBSOCKET,
    'Sec-WebSocket-Protocol: psync.v1.json',
  ),
};

for (const [name, request] of Object.entries(REQUESTS)) {
  test(`clients that leave while the node prepares their answer leave nothing watched: ${name}`, async (t) => {
    const held = new Held();
    const { access, port, signals } = await staged(t, held, () => assert.fail('no token was shown'));
    await leave(port, request, held);
    held.end();
    await until('nothing is watched', () => access.watched.size === 0);
    await someTurns();
    assert.equal(access.watched.size, 0);
    assert.ok(signals.every(({ aborted }) => aborted));
  });
}

test('clients that leave while their token is verified leave nothing watched, and no request waits for them', async (t) => {
  const owner = { id: 'x', name: 'x', rights: ['read', 'write'], prefixes: null, expiresAt: null } as const;
  const verified = new Principal(owner, Date.now);
  for (const [name, request] of Object.entries(REQUESTS)) {
    const verifying = new Held();
    const working = new Held();
    const { access, port, signals } = await staged(t, working, () => verifying.until(verified));
    await leave(port, request.replace('\r\n', '\r\nAuthorization: Bearer signed\r\n'), verifying);
    verifying.end();
    await someTurns();
    assert.ok(
      signals.every(({ aborted }) => aborted),
      `${name}: no wait goes on`,
    );
    working.end();
    await until(`nothing is watched: ${name}`, () => access.watched.size === 0);
    await someTurns();
    assert.equal(access.watched.size, 0, name);
  }
});
