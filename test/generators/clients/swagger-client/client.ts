import SwaggerClient from 'swagger-client';
import type { Connect } from '../adapter.ts';
import definition from './made/openapi.json' with { type: 'json' };

export const connect: Connect = async (url) => {
  const spec = { ...definition, servers: [{ url }] };
  const { apis } = await new SwaggerClient({ spec });
  return {
    put: async (key, bytes) => {
      await apis.keys.putKey({ key }, { requestBody: new Blob([bytes]) });
    },
    get: async (key) => (await apis.keys.getKey({ key })).data as Blob,
    batch: async (ops) => (await apis.keys.batch({}, { requestBody: { ops } })).body.results,
    page: async (prefix, after, limit) => (await apis.keys.listKeys({ prefix, after, limit })).body,
    codeOf: async (key) => {
      try {
        await apis.keys.deleteKey({ key });
      } catch (error) {
        return (error as { response: { body: { code: string } } }).response.body.code;
      }
      return undefined;
    },
  };
};
