import { type Connect, typed } from '../adapter.ts';
import { Api, type ContentType, type HttpResponse, type Problem } from './made/client.ts';

export const connect: Connect = (baseUrl) => {
  const api = new Api({ baseUrl });
  // A Blob would become `{}` otherwise, in silence.
  const type = 'application/octet-stream' as ContentType;
  // biome-ignore lint/complexity/useLiteralKeys: the member is private; only brackets reach it
  api['contentFormatters'][type] = (body) => body;
  const { v1 } = api;
  return {
    put: async (key, bytes) => {
      await v1.putKey(encodeURIComponent(key), new File([bytes], 'value'), {}, { type });
    },
    get: async (key) => (await v1.getKey(encodeURIComponent(key), {}, { format: 'blob' })).data,
    batch: async (ops) => (await v1.batch({ ops })).data.results,
    page: async (prefix, after, limit) =>
      (await v1.listKeys({ prefix, limit, ...(after !== undefined && { after }) })).data,
    codeOf: async (key) => {
      try {
        await v1.deleteKey(encodeURIComponent(key));
      } catch (answer) {
        return typed((answer as HttpResponse<unknown, Problem>).error.code);
      }
      return undefined;
    },
  };
};
