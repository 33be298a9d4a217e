/** psyncd with @hey-api/openapi-ts: a function for each call, and nothing to install beside it. */
import { client } from './client/client.gen.ts';
import { getKey, incrementKey, listKeys, putKey } from './client/sdk.gen.ts';

client.setConfig({ baseUrl: process.env.PSYNCD_NODE ?? 'http://127.0.0.1:7796' });

// A value is any bytes: it goes in as a Blob, and comes out as one.
const path = { key: 'photos/ada.png' };
const value = new Blob([new Uint8Array([0x89, 0x50, 0x4e, 0x47])]);
const written = await putKey({ path, body: value });
if (written.data === undefined) throw new Error(written.error.detail);
const { data } = await getKey({ path, parseAs: 'blob' });
if (data instanceof Blob) console.log('bytes:', new Uint8Array(await data.arrayBuffer()));

// Only if nobody has written it since: otherwise 412, with the version that it has now.
const headers = { 'If-Match': `"${written.data.version}"` };
await putKey({ path, body: new Blob(['newer']) });
const late = await putKey({ path, headers, body: new Blob(['late']) });
console.log('late:', late.error?.code, late.error?.currentVersion);

// JSON bodies and answers are typed.
const visits = await incrementKey({ path: { key: 'visits' }, body: { by: 2 } });
console.log('visits:', visits.data?.value);

// Page after page, until `next` is null.
let after: string | undefined;
do {
  const page = await listKeys({ query: { limit: 1, ...(after && { after }) } });
  for (const { key, size } of page.data?.keys ?? []) console.log('key:', key, size);
  after = page.data?.next ?? undefined;
} while (after !== undefined);
