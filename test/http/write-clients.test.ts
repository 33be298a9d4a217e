/** Whichever way a write takes through the server, limits count it for the same client. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { Agent, type IncomingMessage, request } from 'node:http';
import test, { type TestContext } from 'node:test';
import type { Access } from '../../src/access/access.ts';
import { ANONYMOUS, Principal } from '../../src/access/principal.ts';
import { createServer, type ServerParts } from '../../src/http/server.ts';
import type { Sender } from '../../src/node/write/sender.ts';
import { systemWorld } from '../../src/runtime/system-world.ts';
import { clientLimits } from '../../src/web/client-limits.ts';
import { Proxies } from '../../src/web/proxies.ts';
import { RequestCounts } from '../../src/web/record/request-counts.ts';
import { NO_SETTINGS, openAccess } from '../support/open-access.ts';
import { SILENT } from '../support/silent-log.ts';

/** The fast path, and the long one. */
const PATHS = ['/v1/keys/k', '/v1/keys/k?'];

interface Staged {
  readonly port: number;
  /** The senders of the writes, in order. */
  readonly senders: Sender[];
}

async function staged(t: TestContext, access: Access): Promise<Staged> {
  const proxies = new Proxies(['127.0.0.9']);
  const senders: Sender[] = [];
  const position = { runId: 'a'.repeat(40), offset: 1 };
  const node = {
    closing: false,
    role: 'master',
    position,
    writeProblem: null,
    write: (_write: unknown, sender: Sender) => {
      senders.push(sender);
      const results = [{ existed: true, entry: { version: 1, expiresAt: null } }];
      return Promise.resolve({ position: `${position.runId}:1`, results });
    },
  };
  const counts = new RequestCounts();
  const limits = clientLimits(
    { rateLimit: 0, maxConnectionsPerToken: 0, maxFollowersPerToken: 0 },
    access,
    proxies,
    systemWorld.monotonic,
  );
  const settings = {
    ...NO_SETTINGS,
    proxies,
    bodyTimeoutMs: 60_000,
    requestMemoryBytes: 1e9,
    logsRequests: false,
  };
  const upgrade = (): void => undefined;
  const parts = { node, access, accessLog: null, counts, limits, log: SILENT, settings, tls: null, upgrade };
  const server = await createServer({ ...parts, version: '0' } as unknown as ServerParts);
  const port = await server.listen('127.0.0.1', 0, 100);
  t.after(async () => {
    server.closeAllConnections();
    await server.close();
  });
  return { port, senders };
}

async function put(
  port: number,
  agent: Agent,
  path: string,
  headers: Readonly<Record<string, string>> = {},
): Promise<void> {
  const sent = { host: `127.0.0.1:${port}`, 'content-length': '1', ...headers };
  const asked = request({ host: '127.0.0.1', port, agent, path, method: 'PUT', headers: sent }).end('v');
  const [answer] = (await once(asked, 'response')) as [IncomingMessage];
  answer.resume();
  await once(answer, 'end');
  assert.equal(answer.statusCode, 200);
}

/** One connection from an address. */
function from(t: TestContext, localAddress: string): Agent {
  const agent = new Agent({ keepAlive: true, maxSockets: 1, localAddress } as ConstructorParameters<
    typeof Agent
  >[0]);
  t.after(() => agent.destroy());
  return agent;
}

test('without tokens each address is a client, and behind a proxy each address that it tells', async (t) => {
  const { port, senders } = await staged(t, openAccess());
  const [one, other, proxy] = ['127.0.0.1', '127.0.0.2', '127.0.0.9'].map((each) => from(t, each)) as [
    Agent,
    Agent,
    Agent,
  ];
  for (const path of PATHS) {
    await put(port, one, path);
    // Nobody has to believe this client.
    await put(port, one, path, { 'x-forwarded-for': '192.0.2.7' });
    await put(port, other, path);
    await put(port, proxy, path);
    for (const client of ['192.0.2.1', '192.0.2.2', '192.0.2.1'])
      await put(port, proxy, path, { 'x-forwarded-for': client });
    const clients = senders.splice(0).map(({ client }) => client);
    const expected = [
      '127.0.0.1',
      '127.0.0.1',
      '127.0.0.2',
      '127.0.0.9',
      '192.0.2.1',
      '192.0.2.2',
      '192.0.2.1',
    ];
    assert.deepEqual(
      clients,
      expected.map((address) => `address ${address}`),
      path,
    );
  }
});

test('writes on a connection with two tokens are those of two clients, and those of one token of one', async (t) => {
  const access = openAccess();
  const rights = ['write'] as const;
  const made = (id: string): Principal =>
    new Principal({ id, name: id, rights, prefixes: null, expiresAt: null }, Date.now);
  const principals = new Map(['a', 'b', ANONYMOUS].map((id) => [id, made(id)]));
  access.find = (authorization) => principals.get(authorization?.slice(7) ?? ANONYMOUS) ?? null;
  access.authenticate = (authorization) => principals.get(authorization?.slice(7) ?? ANONYMOUS) as Principal;
  Object.defineProperty(access, 'isOpen', { value: false });
  const { port, senders } = await staged(t, access);
  const agent = from(t, '127.0.0.1');
  for (const path of PATHS) {
    for (const token of ['a', 'b', null, 'a'])
      await put(port, agent, path, token === null ? {} : { authorization: `Bearer ${token}` });
    const clients = senders.splice(0).map(({ client }) => client);
    assert.deepEqual(clients, ['token a', 'token b', 'address 127.0.0.1', 'token a'], path);
  }
  // A write that waits ends with its token.
  await put(port, agent, PATHS[0] as string, { authorization: 'Bearer a' });
  const [sender] = senders;
  assert.equal(sender?.atDecision(), null);
  principals.get('a')?.retire();
  assert.notEqual(sender?.over, null);
  assert.notEqual(sender?.atDecision(), null);
});
