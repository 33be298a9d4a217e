/** Values that a page gives to a client: text and bytes are sent, and nothing else is sent in their place. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { Client as FullClient } from '../../src/client/full/client.ts';
import type { Value } from '../../src/client/mirror/entry.ts';
import { optimistic } from '../../src/client/optimistic/optimistic.ts';
import { Client } from '../../src/client/rest.ts';
import { abc, honest, open } from '../support/scripted-mirror.ts';

const POSITION = `${'a'.repeat(40)}:10`;
const URL_OF_NODE = 'http://127.0.0.1:9';

/** What a page may give that no compiler checks. */
const WRONG: Readonly<Record<string, unknown>> = {
  object: { name: 'Ada' },
  undefined: undefined,
  null: null,
  number: 5,
  boolean: true,
  array: ['a', 'b'],
  date: new Date(0),
  promise: Promise.resolve('x'),
  'half of a surrogate pair': '\ud800',
};

/** @returns a transport of a node that takes every write, and the bodies that it got */
function taking(): { readonly bodies: string[]; readonly transport: typeof globalThis } {
  const bodies: string[] = [];
  const fetch = async (_url: unknown, init?: RequestInit): Promise<Response> => {
    bodies.push(await new Response(init?.body ?? null).text());
    const headers = { 'content-type': 'application/json', 'psync-position': POSITION };
    return Response.json({ key: 'k', position: POSITION, version: 10 }, { headers });
  };
  return { bodies, transport: { ...globalThis, fetch } };
}

for (const [name, wrong] of Object.entries(WRONG)) {
  test(`a value that is neither text nor bytes is not sent as another one: ${name}`, async () => {
    const { bodies, transport } = taking();
    for (const client of [
      new Client(URL_OF_NODE, { transport }),
      new FullClient(URL_OF_NODE, { transport }),
    ]) {
      await assert.rejects(client.set('k', wrong as Value), TypeError);
      await assert.rejects(client.append('k', wrong as Value), TypeError);
    }
    assert.deepEqual(bodies, []);
  });

  test(`an optimistic write of what is neither text nor bytes is not shown: ${name}`, async (t) => {
    const { bodies, transport } = taking();
    const mirror = open(t, { url: (await honest(t, abc())).url });
    await mirror.ready;
    const writes = optimistic(mirror, new Client(URL_OF_NODE, { transport }));
    const written = writes.set('a', wrong as Value);
    assert.equal(writes.get('a'), 'value of a');
    await assert.rejects(written, TypeError);
    assert.deepEqual([writes.pending, bodies], [0, []]);
  });
}

test('text and bytes are sent as they are', async () => {
  const { bodies, transport } = taking();
  const client = new FullClient(URL_OF_NODE, { transport });
  const bytes = new TextEncoder().encode('Grüße');
  for (const value of ['', 'Grüße', bytes, Buffer.from(bytes), new Uint8Array()]) {
    await client.set('k', value);
    await client.append('k', value);
    await client.import(String(value));
  }
  await client.import(new Blob(['a stream']).stream());
  const texts = ['', 'Grüße', `${bytes}`, 'Grüße', ''];
  assert.deepEqual(bodies, [
    ...['', 'Grüße', 'Grüße', 'Grüße', ''].flatMap((text, index) => [text, text, texts[index] as string]),
    'a stream',
  ]);
});
