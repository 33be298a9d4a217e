/** A follower that an unexpected error ends does not learn the error's words: they may quote keys, values or files. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import test, { type TestContext } from 'node:test';
import { WebSocket } from 'ws';
import { until } from '../../src/cli/until.ts';
import type { FeedRequest } from '../../src/node/feed/feed-request.ts';
import { Tally } from '../../src/node/ports/counts.ts';
import { StorageError } from '../../src/node/ports/failures.ts';
import { RequestCounts } from '../../src/web/record/request-counts.ts';
import { acceptWebSockets, CHANGES_PATH, FOLLOWER_SUBPROTOCOL } from '../../src/ws/accept.ts';
import { NO_SETTINGS, openAccess } from '../support/open-access.ts';
import { SILENT } from '../support/silent-log.ts';

const SECRET = 'user:alice at /var/lib/psyncd';
const FIXED = 'the log of the node says more';

/** What one follower and the log of its node were told. */
interface Told {
  readonly events: { readonly code: string; readonly detail: string }[];
  readonly reason: string;
  readonly logged: string;
}

/** Follows, says `auth` once it is served, and waits for the end. */
async function follow(
  t: TestContext,
  { admit = null, renew = null }: { readonly admit?: Error | null; readonly renew?: Error | null },
): Promise<Told> {
  const access = openAccess();
  if (renew !== null) {
    access.authenticateToken = () => {
      throw renew;
    };
  }
  let logged = '';
  let isServed = false;
  const server = createServer();
  server.on(
    'upgrade',
    acceptWebSockets({
      access,
      admission: NO_SETTINGS,
      limits: { refused: new Tally(), requests: null, followers: null },
      counts: new RequestCounts(),
      log: {
        ...SILENT,
        error: (event, fields) => {
          logged += `${event} ${JSON.stringify(fields)}\n`;
        },
      },
      accessLog: null,
      headers: () => ({}),
      accept: () => assert.fail('nobody replicates'),
      admitFollower: (query) =>
        admit === null ? Promise.resolve(query as FeedRequest) : Promise.reject(admit),
      serveFollower: () => {
        isServed = true;
        return { drained: () => undefined, alive: () => undefined, closed: () => undefined };
      },
    }),
  );
  t.after(() => server.close());
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const client = new WebSocket(`ws://127.0.0.1:${port}${CHANGES_PATH}`, FOLLOWER_SUBPROTOCOL);
  const events: Told['events'] = [];
  client.on('message', (data) => events.push(JSON.parse(String(data))));
  const closed = once(client, 'close') as Promise<[number, Buffer]>;
  if (admit === null) {
    await until('the follower is served', () => isServed);
    client.send(JSON.stringify({ type: 'auth', token: 'x' }));
  }
  const [, reason] = await closed;
  return { events, reason: String(reason), logged };
}

for (const [when, broken] of [
  ['before it is served', { admit: new TypeError(SECRET) }],
  ['when it shows a new token', { renew: new TypeError(SECRET) }],
] as const) {
  test(`an unexpected error ${when} tells a follower no words of its own, and the log all`, async (t) => {
    const { events, reason, logged } = await follow(t, broken);
    assert.deepEqual(
      events.map(({ code, detail }) => [code, detail]),
      [['INTERNAL', FIXED]],
    );
    assert.equal(reason, FIXED);
    assert.match(logged, /^unexpected-error .*user:alice at \/var\/lib\/psyncd/);
  });
}

test('a follower learns what the disk has refused, as the client of a request does', async (t) => {
  const { events } = await follow(t, { admit: new StorageError('the disk fails', false) });
  assert.deepEqual(
    events.map(({ code, detail }) => [code, detail]),
    [['STORAGE_FAILED', 'the disk fails']],
  );
});
