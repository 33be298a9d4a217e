/** Which client a request counts for, where its token may not be known yet. */
import assert from 'node:assert/strict';
import { EventEmitter } from 'node:events';
import type { IncomingMessage, ServerResponse } from 'node:http';
import test from 'node:test';
import { LimitProblem } from '../../src/access/access-problem.ts';
import { Principal } from '../../src/access/principal.ts';
import { clientLimits } from '../../src/web/client-limits.ts';
import { NO_PROXIES } from '../../src/web/proxies.ts';

const principal = (id: string): Principal =>
  new Principal({ id, name: id, rights: ['read'], prefixes: null, expiresAt: null }, () => 0);

/**
 * A gate that lets one client have one connection, and send 100 requests at once.
 * @param signed tokens that are valid, and are not known before they were verified; others are good for nobody
 */
function staged(...signed: readonly string[]) {
  const known = new Map<string, Principal>();
  let verifying: ((id: string) => Promise<void>) | null = null;
  const access = {
    isOpen: false,
    find: (authorization: string | undefined) => known.get(authorization ?? '') ?? null,
    verifyFirst: (authorization: string | undefined) => {
      if (authorization === undefined || known.has(authorization)) return null;
      if (verifying !== null) return verifying(authorization);
      if (signed.includes(authorization)) known.set(authorization, principal(authorization));
      return Promise.resolve();
    },
  };
  const settings = { rateLimit: 100, maxConnectionsPerToken: 1, maxFollowersPerToken: 0 };
  const gate = clientLimits(settings, access, NO_PROXIES, () => 0).requests;
  assert.ok(gate !== null);
  /** @returns functions that send requests on a connection of its own, and tell what became of them */
  const connection = () => {
    const socket = Object.assign(new EventEmitter(), { remoteAddress: '192.0.2.1', destroyed: false });
    const begin = async (authorization?: string) => {
      const response = new EventEmitter();
      const request = { socket, headers: { authorization } } as unknown as IncomingMessage;
      const gated = await gate.pass(request, response as unknown as ServerResponse);
      return { ...gated, message: gated.problem?.message, answered: () => response.emit('close') };
    };
    const send = async (authorization?: string) => {
      const begun = await begin(authorization);
      begun.answered();
      return begun;
    };
    return { begin, send, close: () => socket.emit('close') };
  };
  return {
    connection,
    failVerifying: (error: Error) => {
      verifying = () => Promise.reject(error);
    },
  };
}

const OF_TOKEN = 'the limit of connections of one token is 1';
const OF_ADDRESS = 'the limit of connections of one address is 1';

test('a new signed token counts for itself from its first request on, and is not refused for its address', async () => {
  const { connection } = staged('ada', 'bob');
  const [neighbour, first, second] = [connection(), connection(), connection()];
  for (let count = 0; count < 101; count += 1) await neighbour.send();
  assert.match((await neighbour.send()).message ?? '', /^the limit of requests of one address/);
  const { problem, headers } = await first.send('ada');
  assert.equal(problem, null);
  assert.equal(headers?.['ratelimit-policy'], '"token";q=100;w=1');
  assert.equal((await second.send('ada')).message, OF_TOKEN);
  assert.equal((await second.send('bob')).problem, null);
  first.close();
  assert.equal((await connection().send('ada')).problem, null);
});

test('a signed token that is no good counts for its address', async () => {
  const { connection } = staged('ada');
  const first = connection();
  assert.equal((await first.send('eve')).headers?.['ratelimit-policy'], '"address";q=100;w=1');
  assert.equal((await connection().send('mallory')).message, OF_ADDRESS);
  assert.equal((await connection().send()).message, OF_ADDRESS);
  assert.equal((await connection().send('ada')).problem, null);
});

test('while too many tokens are being verified, a new one is told so', async () => {
  const { connection, failVerifying } = staged();
  failVerifying(new LimitProblem('too many new tokens have come at once', 1));
  const { message, isLast } = await connection().send('ada');
  assert.deepEqual([message, isLast], ['too many new tokens have come at once', false]);
  failVerifying(new Error('broken'));
  await assert.rejects(connection().send('ada'), /^Error: broken$/);
});

test('a connection counts for each client with an open request on it, and for the last one', async () => {
  const { connection } = staged('ada', 'bob', 'cyd');
  const shared = connection();
  const feed = await shared.begin('ada');
  await shared.send('bob');
  await shared.send();
  assert.equal((await connection().send('ada')).message, OF_TOKEN, 'the feed of ada is open');
  assert.equal((await connection().send()).message, OF_ADDRESS, 'the last request had no token');
  const other = connection();
  assert.equal((await other.send('bob')).problem, null, 'bob has nothing open');
  other.close();
  feed.answered();
  assert.equal((await connection().send('ada')).problem, null);
  const both = await shared.begin('bob');
  assert.equal(both.problem, null);
  assert.equal((await shared.begin('cyd')).problem, null);
  assert.equal((await connection().send('bob')).message, OF_TOKEN);
  shared.close();
  for (const each of ['bob', 'cyd', undefined]) assert.equal((await connection().send(each)).problem, null);
});
