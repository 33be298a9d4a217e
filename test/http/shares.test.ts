/** What a client may have, and what it learns from that. */
import assert from 'node:assert/strict';
import { IncomingMessage, ServerResponse } from 'node:http';
import { Socket } from 'node:net';
import test from 'node:test';
import fc from 'fast-check';
import { Pipelines } from '../../src/http/request/traffic/pipelines.ts';
import { UnreadAnswers } from '../../src/http/request/traffic/unread-answers.ts';
import { CLIENT_SHARE, Shares } from '../../src/node/client-places.ts';

const KIB = 1024;
const MIB = 1024 * KIB;
const LIMIT = 128 * MIB;

test('a client sees only in coarse steps what another one has, whatever a third one adds', () => {
  const steps = fc.tuple(fc.integer({ min: 18, max: 25 }), fc.integer({ min: 5, max: 8 }));
  fc.assert(
    fc.property(
      steps,
      fc.double({ min: 0, max: 1, noNaN: true }),
      fc.nat(LIMIT),
      ([power, quarters], part, third) => {
        const most = (held: number): number => {
          const shares = new Shares(() => LIMIT, 'coarsely');
          shares.add('accomplice', third);
          shares.add('other', held);
          return shares.most('curious');
        };
        const step = 2 ** power / 4;
        assert.equal(
          most(Math.min(quarters * step, Math.floor((quarters - 1 + part) * step) + 1)),
          most(quarters * step),
        );
      },
    ),
  );
});

test('shares that are seen coarsely stay below the limit and are given back whole', () => {
  fc.assert(
    fc.property(fc.array(fc.tuple(fc.nat(9), fc.nat(8 * MIB)), { maxLength: 200 }), (asked) => {
      const shares = new Shares(() => LIMIT, 'coarsely');
      const taken: [string, number][] = [];
      for (const [number, bytes] of asked) {
        const client = `client ${number}`;
        if (shares.of(client) + bytes > shares.most(client)) continue;
        shares.add(client, bytes);
        taken.push([client, bytes]);
      }
      assert.ok(shares.total <= LIMIT);
      for (const [client, bytes] of taken) shares.add(client, -bytes);
      assert.deepEqual([shares.total, shares.most('anybody')], [0, CLIENT_SHARE * LIMIT]);
    }),
  );
});

test('an endless limit has endless shares', () => {
  const shares = new Shares(() => Number.POSITIVE_INFINITY, 'coarsely');
  shares.add('one', MIB);
  assert.equal(shares.most('other'), Number.POSITIVE_INFINITY);
});

test('the length of an answer that another client does not read is not seen by how many answers there is room for', () => {
  const begun = (foreignBytes: number): number => {
    const clients = new Map<IncomingMessage, string>();
    const answers = new UnreadAnswers(
      () => 8 * MIB,
      new Pipelines(),
      (request) => String(clients.get(request)),
    );
    const asks = (client: string, bytes: number): boolean => {
      const request = new IncomingMessage(new Socket());
      clients.set(request, client);
      const response = new ServerResponse(request);
      response.assignSocket(request.socket);
      const wait = answers.admit(request, response, bytes);
      wait?.catch(() => undefined);
      // It waits for nothing more.
      if (wait !== null) response.emit('close');
      else response.setTimeout(0);
      return wait === null;
    };
    asks('other', foreignBytes);
    let count = 0;
    while (asks('curious', 17 * KIB)) count += 1;
    return count;
  };
  assert.equal(begun(1.26 * MIB), begun(1.49 * MIB));
  assert.equal(begun(20.1 * KIB), begun(23.9 * KIB));
  assert.ok(begun(4 * MIB) < begun(MIB));
});
