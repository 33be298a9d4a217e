/** The client of @hey-api/openapi-ts, as an `Sdk`. */
import { createClient } from '../../examples/hey-api/client/client/index.ts';
import * as api from '../../examples/hey-api/client/sdk.gen.ts';
import type { Problem } from '../../examples/hey-api/client/types.gen.ts';
import type { Answer, Sdk } from './sdk.ts';

export function sdk(baseUrl: string): Sdk {
  const client = createClient({ baseUrl });
  return {
    set: async (key, body, headers = {}, ttl) =>
      answer(
        await api.putKey({ client, path: { key }, body, headers, query: ttl === undefined ? {} : { ttl } }),
      ),
    get: async (key, as, headers = {}) => {
      const got = await api.getKey({ client, path: { key }, headers, parseAs: as });
      return answer(got, await blobOf(got.data));
    },
    getJson: async (key) =>
      answer(await api.getKey({ client, path: { key }, headers: { accept: 'application/json' } })),
    head: async (key) => {
      // Neither answers nor errors of a HEAD have a body.
      const { response } = await api.headKey({ client, path: { key } });
      return answer(response === undefined ? {} : { response });
    },
    delete: async (key, headers = {}) => answer(await api.deleteKey({ client, path: { key }, headers })),
    append: async (key, body) => answer(await api.appendToKey({ client, path: { key }, body })),
    patch: async (key, body) => answer(await api.patchKey({ client, path: { key }, body })),
    increment: async (key, by) => answer(await api.incrementKey({ client, path: { key }, body: { by } })),
    expire: async (key, ttl) => answer(await api.setExpiry({ client, path: { key }, body: { ttl } })),
    persist: async (key) => answer(await api.deleteExpiry({ client, path: { key } })),
    page: async (prefix, after, limit) => {
      const query = { prefix, limit, values: true, ...(after === undefined ? {} : { after }) };
      return answer(await api.listKeys({ client, query }));
    },
    batch: async (ops) => answer(await api.batch({ client, body: { ops } })),
    import: async (body) => answer(await api.importEntries({ client, body, bodySerializer: null })),
    export: async () => answer(await api.exportEntries({ client, parseAs: 'text' })),
    info: async () => answer(await api.getInfo({ client })),
    replication: async () => answer(await api.getReplication({ client })),
  };
}

/** A value is `unknown` to this client: with `Accept: application/json` it would be any JSON. */
async function blobOf(data: unknown): Promise<Blob | undefined> {
  if (data instanceof Blob) return data;
  if (data instanceof ArrayBuffer) return new Blob([data]);
  return data instanceof ReadableStream ? new Response(data).blob() : undefined;
}

interface Fetched<T> {
  readonly data?: T;
  readonly error?: Problem;
  readonly response?: Response;
}

function answer<T>({ data, error, response }: Fetched<T>): Answer<T>;
function answer<T>(fetched: Fetched<unknown>, data: T | undefined): Answer<T>;
function answer<T>({ data, error, response }: Fetched<T>, read: T | undefined = data): Answer<T> {
  // @ts-expect-error: the codes are a closed list, so what is not one of them is found out here.
  if (error?.code === 'NO_SUCH_CODE') throw new Error();
  if (response === undefined) throw error;
  // What has no body, as 304, is an empty error to this client.
  const problem = error?.code === undefined ? undefined : error;
  return { status: response.status, data: read, problem, headers: response.headers };
}
