/** psyncd with openapi-typescript and openapi-fetch: the types are generated, the client is 6 kB. */
import createClient from 'openapi-fetch';
import type { paths } from './psyncd.d.ts';

const client = createClient<paths>({ baseUrl: process.env.PSYNCD_NODE ?? 'http://127.0.0.1:7796' });
const asItIs = <T>(body: T): T => body;

// A value is any bytes: `bodySerializer` sends it unchanged, and `parseAs` chooses the form of the answer.
const params = { path: { key: 'photos/ada.png' } };
const value = new Uint8Array([0x89, 0x50, 0x4e, 0x47]);
const written = await client.PUT('/v1/keys/{key}', { params, body: value as never, bodySerializer: asItIs });
if (written.error !== undefined) throw new Error(written.error.detail);
const read = await client.GET('/v1/keys/{key}', { params, parseAs: 'arrayBuffer' });
console.log('bytes:', new Uint8Array(read.data ?? new ArrayBuffer()));

// Writes only if nobody has written the entry since; otherwise the answer is 412 with its present version.
const header = { 'If-Match': `"${written.data.version}"` };
await client.PUT('/v1/keys/{key}', { params, body: 'newer', bodySerializer: asItIs });
const late = await client.PUT('/v1/keys/{key}', {
  params: { ...params, header },
  body: 'late',
  bodySerializer: asItIs,
});
console.log('late:', late.error?.code, late.error?.currentVersion);

// The types of JSON bodies and answers are generated.
const { data } = await client.POST('/v1/keys/{key}/increment', {
  params: { path: { key: 'visits' } },
  body: { by: 2 },
});
console.log('visits:', data?.value);

// Reads page after page until `next` is null.
let after: string | undefined;
do {
  const page = await client.GET('/v1/keys', { params: { query: { limit: 1, ...(after && { after }) } } });
  for (const { key, size } of page.data?.keys ?? []) console.log('key:', key, size);
  after = page.data?.next ?? undefined;
} while (after !== undefined);
