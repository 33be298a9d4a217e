import createClient from 'openapi-fetch';
import { type Connect, failed, typed } from '../adapter.ts';
import type { paths } from './made/psyncd.d.ts';

export const connect: Connect = (url) => {
  const client = createClient<paths>({ baseUrl: url });
  return {
    put: async (key, bytes) => {
      const { error } = await client.PUT('/v1/keys/{key}', {
        params: { path: { key } },
        body: bytes as never,
        bodySerializer: (body) => body,
      });
      if (error !== undefined) failed(error);
    },
    get: async (key) => {
      const params = { path: { key } };
      const { data, error } = await client.GET('/v1/keys/{key}', { params, parseAs: 'arrayBuffer' });
      return data ?? failed(error);
    },
    batch: async (ops) => (await client.POST('/v1/batch', { body: { ops } })).data?.results,
    page: async (prefix, after, limit) =>
      (
        await client.GET('/v1/keys', {
          params: { query: { prefix, limit, ...(after !== undefined && { after }) } },
        })
      ).data,
    codeOf: async (key) =>
      typed((await client.GET('/v1/keys/{key}', { params: { path: { key } } })).error?.code),
  };
};
