/** Who may replicate on a connection whose token ends while the upgrade is under way. */
import assert from 'node:assert/strict';
import test from 'node:test';
import type { Access } from '../../src/access/access.ts';
import { LimitProblem } from '../../src/access/access-problem.ts';
import { Principal } from '../../src/access/principal.ts';
import { CloseCode } from '../../src/replication/close-code.ts';
import { whyNotServed } from '../../src/replication/link-step.ts';
import { ReplicaGate } from '../../src/ws/replica-gate.ts';
import type { Socket } from '../../src/ws/socket.ts';
import { openAccess } from '../support/open-access.ts';

test('a token that ends between the upgrade and the conversation opens nothing', () => {
  let now = 1;
  const parts = { id: 'a', name: 'a', rights: ['replicate'] as const, prefixes: null, expiresAt: 2 };
  const sender = new Principal(parts, () => now);
  sender.mustHave('replicate');
  now = 3;
  const closed: number[] = [];
  const socket = { close: (code: number) => closed.push(code) } as unknown as Socket;
  const gate = new ReplicaGate(openAccess(), socket, '127.0.0.1', sender);
  assert.deepEqual([gate.isOpen, gate.owner, closed], [false, null, [CloseCode.unauthorized]]);
});

test('a limit that refuses a token refuses it for now only, and is no answer to a hand-over', async () => {
  const tooMany = new LimitProblem('too many', 1);
  const socket = { close: () => assert.fail('closed') } as unknown as Socket;
  for (const authenticateToken of [
    () => Promise.reject(tooMany),
    () => {
      throw tooMany;
    },
  ]) {
    const gate = new ReplicaGate({ authenticateToken } as unknown as Access, socket, '127.0.0.1', null);
    const line = (await gate.take('token')) ?? '';
    assert.equal(whyNotServed(line.slice(1)), 'not-now', line);
  }
});

test('all signed tokens of one subject are one client, and each is an owner of its own', () => {
  const socket = { close: () => assert.fail('closed') } as unknown as Socket;
  const gateOf = (id: string, client: string, address = '127.0.0.1') => {
    const parts = { id, client, name: id, rights: ['replicate'] as const, prefixes: null, expiresAt: null };
    const sender = new Principal({ ...parts, signer: { isGone: false } }, () => 0);
    return new ReplicaGate(openAccess(), socket, address, sender);
  };
  const [first, second, other] = [
    gateOf('jwt:ada j1', 'jwt:ada'),
    gateOf('jwt:ada j2', 'jwt:ada', '127.0.0.2'),
    gateOf('jwt:bob j1', 'jwt:bob'),
  ];
  assert.equal(first.client, second.client);
  assert.notEqual(first.owner, second.owner);
  assert.notEqual(first.client, other.client);
  const nobody = (address: string) => new ReplicaGate(openAccess(), socket, address, openAccess().anybody);
  assert.equal(nobody('127.0.0.1').client, nobody('127.0.0.1').client);
  assert.notEqual(nobody('127.0.0.1').client, nobody('127.0.0.2').client);
});
