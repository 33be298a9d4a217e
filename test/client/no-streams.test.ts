/** A `fetch` without streams, such as that of React Native or of a mock. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { Client } from '../../src/client/rest.ts';

/** An answer with a value and the body that the `fetch` gives it. */
function answering(body: object): Client {
  const headers = new Headers({
    'content-type': 'application/octet-stream',
    'psync-position': `${'a'.repeat(40)}:5`,
    etag: '"5"',
  });
  const fetch = async (): Promise<object> => ({
    ok: true,
    status: 200,
    url: 'http://node',
    headers,
    ...body,
  });
  const transport = { fetch: fetch as typeof globalThis.fetch, WebSocket };
  return new Client('http://node', { transport });
}

test('a value whose body cannot be read as a stream is an error, and no empty value', async () => {
  const node = answering({ arrayBuffer: async () => new ArrayBuffer(3) });
  await assert.rejects(node.get('a'), TypeError);
  await assert.rejects(node.entry('a'), TypeError);
});

test('an answer that has no body has an empty value', async () => {
  assert.deepEqual(await answering({ body: null }).get('a'), new Uint8Array(0));
});
