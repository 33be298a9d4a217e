import { type Connect, failed, typed } from '../adapter.ts';
import { createClient } from './made/client/client/index.ts';
import * as api from './made/client/sdk.gen.ts';

export const connect: Connect = (url) => {
  const client = createClient({ baseUrl: url });
  return {
    put: async (key, bytes) => {
      const { error } = await api.putKey({ client, path: { key }, body: new Blob([bytes]) });
      if (error !== undefined) failed(error);
    },
    get: async (key) => {
      const { data, error } = await api.getKey({ client, path: { key }, parseAs: 'blob' });
      return data instanceof Blob ? data : failed(error);
    },
    batch: async (ops) => (await api.batch({ client, body: { ops } })).data?.results,
    page: async (prefix, after, limit) =>
      (await api.listKeys({ client, query: { prefix, limit, ...(after !== undefined && { after }) } })).data,
    codeOf: async (key) => typed((await api.getKey({ client, path: { key } })).error?.code),
  };
};
