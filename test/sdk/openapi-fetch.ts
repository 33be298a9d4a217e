/** The client of openapi-typescript and openapi-fetch, as an `Sdk`. */
import createClient from 'openapi-fetch';
import type { components, paths } from '../../examples/openapi-fetch/psyncd.d.ts';
import type { Answer, Sdk } from './sdk.ts';

type Problem = components['schemas']['Problem'];

export function sdk(baseUrl: string): Sdk {
  const client = createClient<paths>({ baseUrl });
  const bodySerializer = <T>(body: T): T => body;
  return {
    set: async (key, body, header = {}, ttl) => {
      const query = ttl === undefined ? {} : { ttl };
      const params = { path: { key }, header, query };
      return answer(await client.PUT('/v1/keys/{key}', { params, body: body as never, bodySerializer }));
    },
    get: async (key, as, header = {}) => {
      const params = { path: { key }, header };
      switch (as) {
        case 'arrayBuffer': {
          const got = await client.GET('/v1/keys/{key}', { params, parseAs: 'arrayBuffer' });
          return answer(got, got.data === undefined ? undefined : new Blob([got.data]));
        }
        case 'blob':
          return answer(await client.GET('/v1/keys/{key}', { params, parseAs: 'blob' }));
        case 'stream': {
          const got = await client.GET('/v1/keys/{key}', { params, parseAs: 'stream' });
          return answer(got, got.data ? await new Response(got.data).blob() : undefined);
        }
      }
    },
    getJson: async (key) =>
      answer(
        await client.GET('/v1/keys/{key}', {
          params: { path: { key } },
          headers: { accept: 'application/json' },
        }),
      ),
    head: async (key) => answer(await client.HEAD('/v1/keys/{key}', { params: { path: { key } } })),
    delete: async (key, header = {}) =>
      answer(await client.DELETE('/v1/keys/{key}', { params: { path: { key }, header } })),
    append: async (key, body) =>
      answer(
        await client.POST('/v1/keys/{key}/append', {
          params: { path: { key } },
          body: body as never,
          bodySerializer,
        }),
      ),
    patch: async (key, body) =>
      answer(
        await client.PATCH('/v1/keys/{key}', {
          params: { path: { key } },
          body,
          headers: { 'content-type': 'application/merge-patch+json' },
        }),
      ),
    increment: async (key, by) =>
      answer(await client.POST('/v1/keys/{key}/increment', { params: { path: { key } }, body: { by } })),
    expire: async (key, ttl) =>
      answer(await client.PUT('/v1/keys/{key}/expiry', { params: { path: { key } }, body: { ttl } })),
    persist: async (key) =>
      answer(await client.DELETE('/v1/keys/{key}/expiry', { params: { path: { key } } })),
    page: async (prefix, after, limit) => {
      const query = { prefix, limit, values: true, ...(after === undefined ? {} : { after }) };
      return answer(await client.GET('/v1/keys', { params: { query } }));
    },
    batch: async (ops) => answer(await client.POST('/v1/batch', { body: { ops } })),
    import: async (body) =>
      answer(
        await client.POST('/v1/import', {
          body,
          bodySerializer,
          headers: { 'content-type': 'application/x-ndjson' },
        }),
      ),
    export: async () => answer(await client.GET('/v1/export', { parseAs: 'text' })),
    info: async () => answer(await client.GET('/v1/info', { parseAs: 'text' })),
    replication: async () => answer(await client.GET('/v1/replication')),
  };
}

interface Fetched<T> {
  readonly data?: T;
  readonly error?: Problem;
  readonly response: Response;
}

function answer<T>({ data, error, response }: Fetched<T>): Answer<T>;
function answer<T>(fetched: Fetched<unknown>, data: T | undefined): Answer<T>;
function answer<T>({ data, error, response }: Fetched<T>, read: T | undefined = data): Answer<T> {
  // @ts-expect-error: the codes are a closed list, so what is not one of them is found out here.
  if (error?.code === 'NO_SUCH_CODE') throw new Error();
  return { status: response.status, data: read, problem: error, headers: response.headers };
}
