import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type ServerResponse } from 'node:http';
import { type AddressInfo, connect } from 'node:net';
import test, { type TestContext } from 'node:test';
import { Pipelines } from '../../src/http/request/traffic/pipelines.ts';
import { ANSWER_STALL_MS, UnreadAnswers } from '../../src/http/request/traffic/unread-answers.ts';

const SIZE = 64 * 1024 * 1024;

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
  const answers = new UnreadAnswers(() => 1, new Pipelines());
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
  const answers = new UnreadAnswers(() => 1, new Pipelines());
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
