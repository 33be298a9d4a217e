import { isErrorFromAlias } from '@zodios/core';
import { type Connect, typed } from '../adapter.ts';
import { createApiClient } from './made/client.ts';

export const connect: Connect = (url) => {
  const client = createApiClient(url);
  return {
    put: async (key, bytes) => {
      await client.putKey(new File([bytes], 'value'), { params: { key: encodeURIComponent(key) } });
    },
    get: (key) =>
      client.getKey({
        params: { key: encodeURIComponent(key) },
        responseType: 'arraybuffer',
      }) as Promise<ArrayBuffer>,
    batch: async (ops) => (await client.batch({ ops })).results,
    page: (prefix, after, limit) =>
      client.listKeys({ queries: { prefix, limit, ...(after !== undefined && { after }) } }),
    codeOf: async (key) => {
      try {
        await client.deleteKey(undefined, { params: { key: encodeURIComponent(key) } });
      } catch (error) {
        if (isErrorFromAlias(client.api, 'deleteKey', error) && error.response.status === 404)
          return typed(error.response.data.code);
        throw error;
      }
      return undefined;
    },
  };
};
