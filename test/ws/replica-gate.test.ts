/** Who may replicate on a connection whose token ends while the upgrade is under way. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { Principal } from '../../src/access/principal.ts';
import { CloseCode } from '../../src/replication/close-code.ts';
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
