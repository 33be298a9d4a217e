import { isAxiosError } from 'axios';
import { OpenAPIClientAxios } from 'openapi-client-axios';
import { type Connect, typed } from '../adapter.ts';
import type { Client, Components } from './made/client.d.ts';
import definition from './made/openapi.json' with { type: 'json' };

export const connect: Connect = async (url) => {
  const api = new OpenAPIClientAxios({ definition: definition as never, withServer: { url } });
  const client = await api.init<Client>();
  return {
    put: async (key, bytes) => {
      await client.putKey({ key }, bytes as never);
    },
    get: async (key) => (await client.getKey({ key }, null, { responseType: 'arraybuffer' })).data as never,
    batch: async (ops) => (await client.batch(null, { ops })).data.results,
    page: async (prefix, after, limit) =>
      (await client.listKeys({ prefix, limit, ...(after !== undefined && { after }) })).data,
    codeOf: async (key) => {
      try {
        await client.deleteKey({ key });
      } catch (error) {
        if (isAxiosError<Components.Schemas.Problem>(error)) return typed(error.response?.data.code);
        throw error;
      }
      return undefined;
    },
  };
};
