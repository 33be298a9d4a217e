import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, IncomingMessage, ServerResponse } from 'node:http';
import { type AddressInfo, connect, Socket } from 'node:net';
import test, { type TestContext } from 'node:test';
import { Pipelines } from '../../src/http/request/traffic/pipelines.ts';
import { ANSWER_STALL_MS, UnreadAnswers } from '../../src/http/request/traffic/unread-answers.ts';

const MIB = 1024 * 1024;
const SIZE = 64 * MIB;

/** Asks for a large answer, and reads nothing of it. @returns the answer on the server's side */
async function unread(t: TestContext, answers: UnreadAnswers): Promise<ServerResponse> {
  const server = createServer((request, response) => {
    assert.equal(answers.admit(request, response, SIZE), null);
    response.end(Buffer.alloc(SIZE));
    server.emit('answered', response);
  }).listen(0, '127.0.0.1');
  t.after(() => server.close());
  await once(server, 'listening');
  const answered = once(server, 'answered');
  const client = connect((server.address() as AddressInfo).port, '127.0.0.1').pause();
  client.on('error', () => undefined);
  t.after(() => client.destroy());
  client.write('GET / HTTP/1.1\r\nHost: x\r\n\r\n');
  const [response] = (await answered) as [ServerResponse];
  return response;
}

test('a client that reads an answer too slowly is disconnected, and the answer no longer counts', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const answers = new UnreadAnswers(
    () => 1,
    new Pipelines(),
    () => 'client',
  );
  const response = await unread(t, answers);
  assert.equal(answers.bytes, SIZE);
  const closed = once(response, 'close');
  t.mock.timers.tick(ANSWER_STALL_MS);
  assert.ok(!response.destroyed, 'a slow reader has longer for a large answer');
  t.mock.timers.tick(24 * 3_600_000);
  assert.ok(response.destroyed);
  await closed;
  assert.equal(answers.bytes, 0);
});

test('a client that has gone waits for no room, and its answer takes none', async (t) => {
  const answers = new UnreadAnswers(
    () => 1,
    new Pipelines(),
    () => 'client',
  );
  const gone = await unread(t, answers);
  const left = once(gone, 'close');
  gone.destroy();
  await left;
  const response = await unread(t, answers);
  const closed = once(response, 'close');
  const refused = assert.rejects(async () => answers.admit(gone.req, gone, SIZE), /no room for another/);
  response.destroy();
  await closed;
  await refused;
  assert.equal(answers.bytes, 0);
  assert.equal(answers.admit(gone.req, gone, SIZE), null);
  assert.equal(answers.bytes, 0);
});

test('a client that reads none of its answers leaves room, and places to wait for it, to another client', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const clients = new Map<IncomingMessage, string>();
  const answers = new UnreadAnswers(
    () => 100 * MIB,
    new Pipelines(),
    (request) => String(clients.get(request)),
  );
  const asks = (client: string): Promise<void> | null => {
    const request = new IncomingMessage(new Socket());
    clients.set(request, client);
    const response = new ServerResponse(request);
    response.assignSocket(request.socket);
    const wait = answers.admit(request, response, MIB);
    wait?.catch(() => undefined);
    return wait;
  };
  const asked = Array.from({ length: 2_000 }, () => asks('greedy'));
  assert.ok(asked.includes(null));
  assert.ok(answers.bytes < 80 * MIB, String(answers.bytes));
  let begun = 0;
  while (asks('other') === null) begun += 1;
  assert.ok(begun >= 15, String(begun));
  const [waits, refused] = [asks('third'), asks('greedy')];
  assert.equal(waits, null);
  await assert.rejects(async () => refused, /no room for another/);
});
