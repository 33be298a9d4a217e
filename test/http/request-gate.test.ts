/** Which client a request counts for, where its token may not be known yet. */
import assert from 'node:assert/strict';
import { EventEmitter } from 'node:events';
import type { IncomingMessage } from 'node:http';
import test from 'node:test';
import { Principal } from '../../src/access/principal.ts';
import { clientLimits } from '../../src/web/client-limits.ts';
import { NO_PROXIES } from '../../src/web/proxies.ts';

/** Tokens that the node knows by now. */
function staged() {
  const known = new Map<string, Principal>();
  const access = {
    isOpen: false,
    find: (authorization: string | undefined) => known.get(authorization ?? '') ?? null,
  };
  const settings = { rateLimit: 100, maxConnectionsPerToken: 1, maxFollowersPerToken: 0 };
  const gate = clientLimits(settings, access, NO_PROXIES, () => 0).requests;
  assert.ok(gate !== null);
  const verify = (id: string): void => {
    const parts = { id, name: id, rights: ['read'] as const, prefixes: null, expiresAt: null };
    known.set(id, new Principal(parts, () => 0));
  };
  /** @returns a function that sends a request with the token on a connection of its own */
  const connection = () => {
    const socket = Object.assign(new EventEmitter(), { remoteAddress: '192.0.2.1', destroyed: false });
    const send = (authorization?: string) =>
      gate.pass({ socket, headers: { authorization } } as unknown as IncomingMessage);
    return { send, close: () => socket.emit('close') };
  };
  return { verify, connection };
}

test('connections with new signed tokens do not take the places of one address, and count once the tokens are known', () => {
  const { verify, connection } = staged();
  const [first, second, third] = [connection(), connection(), connection()];
  for (const { send } of [first, second]) {
    const { problem, headers } = send('ada');
    assert.equal(problem, null);
    assert.equal(headers?.['ratelimit-policy'], '"address";q=100;w=1');
  }
  verify('ada');
  assert.equal(first.send('ada').problem, null);
  assert.equal(second.send('ada').problem?.message, 'the limit of connections of one token is 1');
  first.close();
  assert.equal(second.send('ada').problem, null);
  assert.equal(third.send().problem, null, 'without a token the address counts');
  assert.equal(connection().send().problem?.message, 'the limit of connections of one address is 1');
});
