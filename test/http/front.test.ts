/** What stands in front of Fastify: whatever throws there costs one request or one connection, never the process. */
import assert from 'node:assert/strict';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import test, { type TestContext } from 'node:test';
import { Front, type FrontParts } from '../../src/http/front.ts';
import { KnownHosts } from '../../src/node/hosts.ts';
import { Problem } from '../../src/node/problem.ts';
import { exchanged, rawRequest } from '../support/raw-http.ts';

const UPGRADE = ['Connection: Upgrade', 'Upgrade: websocket'];

interface Stage {
  readonly port: number;
  /** The events that were logged. */
  readonly logged: readonly string[];
}

async function staged(
  t: TestContext,
  handle: (request: IncomingMessage, response: ServerResponse) => void,
  parts: Partial<FrontParts> = {},
): Promise<Stage> {
  const logged: string[] = [];
  const log = (event: string): void => void logged.push(event);
  const front = new Front({
    log: { info: log, warn: log, error: log },
    hosts: new KnownHosts([]),
    refuse: (error, _request, response) => {
      if (!(error instanceof Problem)) log('request-failed');
      response.writeHead(500, { 'content-length': 0 }).end();
    },
    rawAnswer: ({ status }) => `HTTP/1.1 ${status} x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n`,
    upgrade: () => {
      throw new Error('a fault');
    },
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
  return { port: (server.address() as AddressInfo).port, logged };
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

test('a refusal that throws itself ends the connection', async (t) => {
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
