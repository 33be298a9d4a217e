/** psyncd with @hey-api/openapi-ts: a generated function for each call, without a runtime dependency. */
import { client } from './client/client.gen.ts';
import { getKey, incrementKey, listKeys, putKey } from './client/sdk.gen.ts';

client.setConfig({ baseUrl: process.env.PSYNCD_NODE ?? 'http://127.0.0.1:7796' });

// A value is any bytes: hey-api takes it as a Blob and returns it as a Blob.
const path = { key: 'photos/ada.png' };
const value = new Blob([new Uint8Array([0x89, 0x50, 0x4e, 0x47])]);
const written = await putKey({ path, body: value });
if (written.data === undefined) throw new Error(written.error.detail);
const { data } = await getKey({ path, parseAs: 'blob' });
if (data instanceof Blob) console.log('bytes:', new Uint8Array(await data.arrayBuffer()));

// Writes only if nobody has written the entry since; otherwise the answer is 412 with its present version.
const headers = { 'If-Match': `"${written.data.version}"` };
await putKey({ path, body: new Blob(['newer']) });
const late = await putKey({ path, headers, body: new Blob(['late']) });
console.log('late:', late.error?.code, late.error?.currentVersion);

// The types of JSON bodies and answers are generated.
const visits = await incrementKey({ path: { key: 'visits' }, body: { by: 2 } });
console.log('visits:', visits.data?.value);

// Reads page after page until `next` is null.
let after: string | undefined;
do {
  const page = await listKeys({ query: { limit: 1, ...(after && { after }) } });
  for (const { key, size } of page.data?.keys ?? []) console.log('key:', key, size);
  after = page.data?.next ?? undefined;
} while (after !== undefined);
