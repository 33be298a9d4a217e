import { isAxiosError } from 'axios';
import { type Connect, typed } from '../adapter.ts';
import * as api from './made/client/client.ts';
import type { DeleteKey404 } from './made/client/types.ts';

export const connect: Connect = (baseURL) => ({
  put: async (key, bytes) => {
    await api.putKey(encodeURIComponent(key), new Blob([bytes]), undefined, undefined, { baseURL });
  },
  get: (key) =>
    api.getKey(encodeURIComponent(key), undefined, undefined, {
      baseURL,
      responseType: 'arraybuffer',
    }) as Promise<ArrayBuffer>,
  batch: async (ops) => (await api.batch({ ops }, undefined, { baseURL })).results,
  page: (prefix, after, limit) =>
    api.listKeys({ prefix, limit, ...(after !== undefined && { after }) }, { baseURL }),
  codeOf: async (key) => {
    try {
      await api.deleteKey(encodeURIComponent(key), undefined, undefined, { baseURL });
    } catch (error) {
      if (isAxiosError<DeleteKey404>(error)) return typed(error.response?.data.code);
      throw error;
    }
    return undefined;
  },
});
