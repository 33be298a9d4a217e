/** What stands in front of Fastify: whatever throws there costs one request or one connection, never the process. */
import assert from 'node:assert/strict';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { type AddressInfo, connect, type Socket } from 'node:net';
import test, { type TestContext } from 'node:test';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { until } from '../../src/cli/until.ts';
import { Front, type FrontParts } from '../../src/http/front.ts';
import { Problem } from '../../src/node/problem.ts';
import { RequestCounts } from '../../src/web/record/request-counts.ts';
import { NO_SETTINGS } from '../support/open-access.ts';
import { exchanged, rawRequest } from '../support/raw-http.ts';

const UPGRADE = ['Connection: Upgrade', 'Upgrade: websocket'];

interface Stage {
  readonly port: number;
  /** The events that were logged. */
  readonly logged: readonly string[];
  /** The same with their fields, as text. */
  readonly lines: readonly string[];
}

async function staged(
  t: TestContext,
  handle: (request: IncomingMessage, response: ServerResponse) => void,
  parts: Partial<FrontParts> = {},
): Promise<Stage> {
  const logged: string[] = [];
  const lines: string[] = [];
  const log = (event: string, fields?: object): void => {
    logged.push(event);
    lines.push(JSON.stringify({ event, ...fields }));
  };
  const front = new Front({
    log: { debug: log, info: log, warn: log, error: log },
    admission: NO_SETTINGS,
    refuse: (error, _request, response) => {
      if (!(error instanceof Problem)) log('request-failed');
      response.writeHead(500, { 'content-length': 0 }).end();
    },
    rawAnswer: ({ status }) => `HTTP/1.1 ${status} x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n`,
    counts: new RequestCounts(),
    shown: () => 'unknown',
    logsRequests: () => false,
    arrived: null,
    refused: null,
    upgrade: () => {
      throw new Error('a fault');
    },
    tls: null,
    places: { isKnown: () => false, endsStrangers: false },
    ...parts,
  });
  const server = front.serve(
    {
      overlap: () => 'none',
      handle: (request, response) => {
        handle(request, response);
        return 'none';
      },
    },
    { keepAliveTimeout: 5_000, requestTimeout: 0 },
  );
  server.on('clientError', (error, socket) => {
    front.broken(error, socket as never, new Problem('BAD_REQUEST', 'no HTTP'));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.after(() => {
    server.close();
    server.closeAllConnections();
  });
  return { port: (server.address() as AddressInfo).port, logged, lines };
}

async function statuses(stage: Stage, ...pieces: readonly string[]): Promise<readonly number[]> {
  return (await exchanged(stage, [pieces.join('')])).map(({ status }) => status);
}

test('a listener that throws is a 500 and a line in the log, also behind other requests', async (t) => {
  const stage = await staged(t, ({ url }, response) => {
    if (url === '/fault') throw new Error('a fault');
    response.writeHead(200, { 'content-length': 0 }).end();
  });
  assert.deepEqual(await statuses(stage, rawRequest('GET', '/fault')), [500]);
  const both = [rawRequest('GET', '/'), rawRequest('GET', '/fault'), rawRequest('GET', '/')];
  assert.deepEqual(await statuses(stage, ...both), [200, 500, 200]);
  assert.deepEqual(stage.logged, ['request-failed', 'request-failed']);
});

test('a listener that throws when its answer has begun ends the connection', async (t) => {
  const stage = await staged(t, (_request, response) => {
    response.writeHead(200, { 'content-length': 10 });
    response.flushHeaders();
    throw new Error('a fault');
  });
  await assert.rejects(exchanged(stage, [rawRequest('GET', '/')]));
  assert.deepEqual(stage.logged, ['request-failed']);
});

test('an upgrade that throws is a 500 and a line in the log; once there is a WebSocket, its end', async (t) => {
  const answer = (_request: IncomingMessage, response: ServerResponse): void => void response.end();
  const stage = await staged(t, answer);
  assert.deepEqual(await statuses(stage, rawRequest('GET', '/', '', ...UPGRADE)), [500]);
  assert.deepEqual(stage.logged, ['request-failed']);
  const late = await staged(t, answer, {
    upgrade: (_request, connection) => {
      connection.write('HTTP/1.1 101 Switching Protocols\r\n\r\n');
      throw new Error('a fault');
    },
  });
  await exchanged(late, [rawRequest('GET', '/', '', ...UPGRADE)]).catch(() => undefined);
  assert.deepEqual(late.logged, ['request-failed']);
});

test('a refusal that throws an error ends the connection', async (t) => {
  const fault = (): never => {
    throw new Error('a fault');
  };
  const stage = await staged(t, fault, { refuse: fault, rawAnswer: fault });
  for (const bytes of [
    rawRequest('GET', '/'),
    rawRequest('GET', '/', '', 'Host: another'),
    rawRequest('GET', '/', '', ...UPGRADE),
    rawRequest('CONNECT', 'h:1'),
    'no HTTP\r\n\r\n',
  ]) {
    const answers = await exchanged(stage, [bytes]).catch(() => []);
    assert.deepEqual(answers, [], bytes);
  }
  assert.equal(new Set(stage.logged).size, 1);
});

test('a connection that sends requests without end is not read while they wait', async (t) => {
  const served: { socket?: Socket; answer?: () => void } = {};
  const stage = await staged(t, ({ socket }, response) => {
    served.socket = socket;
    if (served.answer === undefined) served.answer = () => response.end();
    else response.end();
  });
  const client = connect(stage.port, '127.0.0.1');
  t.after(() => client.destroy());
  client.on('error', () => undefined).resume();
  const many = rawRequest('POST', '/', 'x').repeat(1_000);
  for (let sent = 0; sent < 40; sent += 1) client.write(many);
  await until('it has begun', () => (served.socket?.bytesRead ?? 0) > 0);
  const bytesRead = (): number => served.socket?.bytesRead ?? 0;
  for (let turn = 0; turn < 500; turn += 1) await nextTurn();
  // What was read at first, and what was on its way meanwhile.
  assert.ok(bytesRead() <= 2 * 64 * 1024, `${bytesRead()}`);
  served.answer?.();
  await until('all is read', () => bytesRead() === 40 * many.length);
});

test('the line about a request that failed has no key and no query', async (t) => {
  const stage = await staged(
    t,
    () => {
      throw new Error('a fault');
    },
    {
      refuse: () => {
        throw new Error('another');
      },
      shown: ({ url }) => (url === '/v1/keys/a/secret/append' ? '/v1/keys/{key}/append' : 'unknown'),
    },
  );
  for (const path of ['/v1/keys/secret', '/v1/keys/a/secret/append', '/v1/keys?prefix=secret'])
    await exchanged(stage, [rawRequest('POST', path)]).catch(() => []);
  assert.equal(stage.lines.length, 3);
  assert.match(stage.lines[1] ?? '', /"path":"\/v1\/keys\/\{key\}\/append"/);
  assert.doesNotMatch(stage.lines.join(), /secret/);
});
