/** What a client does against a master and a replica of it. */
import assert from 'node:assert/strict';
import type { ChildNode } from '../../src/cli/child-node.ts';
import { converged } from '../support/cluster.ts';
import type { Adapter, Connect } from './clients/adapter.ts';

const ALL_BYTES = Uint8Array.from({ length: 256 }, (_, index) => index);
const ALL_IN_HEX = Buffer.from(ALL_BYTES).toString('hex');
/** A key that has to be escaped in a path. */
const KEY = 'bytes/ключ ?#%25&+';

/** @returns what to try, by the columns of the table; each starts with nothing but what the ones before it have done */
export function trials(
  connect: Connect,
  master: ChildNode,
  replica: ChildNode,
): Readonly<Record<string, () => Promise<void>>> {
  const client = (): Promise<Adapter> => Promise.resolve(connect(master.url));
  return {
    bytes: async () => {
      const { put, get } = await client();
      await put(KEY, ALL_BYTES);
      assert.equal(
        Buffer.from((await master.client.get(KEY)) ?? []).toString('hex'),
        ALL_IN_HEX,
        'as it was stored',
      );
      assert.equal(await hexOf(await get(KEY)), ALL_IN_HEX, 'as it was read');
    },
    batch: async () => {
      const { batch } = await client();
      const results = await batch([
        { op: 'set', key: 'batched', value: '1' },
        { op: 'increment', key: 'batched', by: 41 },
        { op: 'get', key: 'batched' },
      ]);
      assert.deepEqual(
        results?.map(({ value }) => value),
        [undefined, 42, '42'],
      );
    },
    pages: async () => {
      const { page } = await client();
      const expected = Array.from({ length: 25 }, (_, index) => `page/${String(index).padStart(2, '0')}`);
      for (const key of expected) await master.client.set(key, 'v');
      const keys: string[] = [];
      let next: string | null | undefined;
      do {
        const got = await page('page/', next ?? undefined, 10);
        assert.ok(got !== undefined);
        keys.push(...got.keys.map(({ key }) => key));
        next = got.next;
      } while (next !== null);
      assert.deepEqual(keys, expected);
    },
    error: async () => assert.equal(await (await client()).codeOf('missing'), 'NOT_FOUND'),
    redirect: async () => {
      const { put, get } = await connect(replica.url);
      await put(`via ${KEY}`, ALL_BYTES);
      await converged(master, replica);
      assert.equal(await hexOf(await get(`via ${KEY}`)), ALL_IN_HEX);
    },
  };
}

/** The columns of the table. */
export const TRIALS = ['bytes', 'batch', 'pages', 'error', 'redirect'] as const;

async function hexOf(value: ArrayBuffer | Blob): Promise<string> {
  return Buffer.from(value instanceof Blob ? await value.arrayBuffer() : value).toString('hex');
}
