import { isAxiosError } from 'axios';
import { type Connect, typed } from '../adapter.ts';
import * as api from './made/client.ts';

export const connect: Connect = (baseURL) => ({
  put: async (key, bytes) => {
    await api.putKey(encodeURIComponent(key), new Blob([bytes]), undefined, { baseURL });
  },
  get: async (key) => {
    const { data } = await api.getKey(encodeURIComponent(key), undefined, {
      baseURL,
      responseType: 'arraybuffer',
    });
    return data as ArrayBuffer;
  },
  batch: async (ops) => (await api.batch({ ops }, undefined, { baseURL })).data.results,
  page: async (prefix, after, limit) =>
    (await api.listKeys({ prefix, limit, ...(after !== undefined && { after }) }, { baseURL })).data,
  codeOf: async (key) => {
    try {
      await api.deleteKey(encodeURIComponent(key), undefined, { baseURL });
    } catch (error) {
      if (isAxiosError<api.Problem>(error)) return typed(error.response?.data.code);
      throw error;
    }
    return undefined;
  },
});
