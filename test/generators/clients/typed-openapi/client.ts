import { type Connect, failed, typed } from '../adapter.ts';
import { createApiClient, type Fetcher } from './made/client.ts';

/** typed-openapi leaves the sending to the application. */
const fetcher: Fetcher = {
  fetch: async ({ method, url, urlSearchParams, parameters, overrides }) => {
    if (urlSearchParams !== undefined) url.search = urlSearchParams.toString();
    const body = parameters?.body;
    const isBytes = body instanceof Uint8Array;
    return fetch(url, {
      method: method.toUpperCase(),
      headers: {
        ...(body !== undefined && !isBytes && { 'content-type': 'application/json' }),
        ...parameters?.header,
      },
      ...(body !== undefined && { body: isBytes ? (body as Uint8Array<ArrayBuffer>) : JSON.stringify(body) }),
      ...overrides,
    });
  },
  decodePathParams: (path, values) =>
    path.replace(/\{(\w+)\}/g, (_, name: string) => encodeURIComponent(values[name] ?? '')),
};

export const connect: Connect = (url) => {
  const api = createApiClient(fetcher, url);
  return {
    put: async (key, bytes) => {
      await api.put('/v1/keys/{key}', { path: { key }, header: {}, query: {}, body: bytes as never });
    },
    get: async (key) =>
      (await api.get('/v1/keys/{key}', { path: { key }, header: {}, query: {} })) as ArrayBuffer,
    batch: async (ops) => (await api.post('/v1/batch', { query: {}, body: { ops } })).results,
    page: (prefix, after, limit) =>
      api.get('/v1/keys', { query: { prefix, limit, ...(after !== undefined && { after }) } }),
    codeOf: async (key) => {
      const answer = await api.delete('/v1/keys/{key}', {
        path: { key },
        header: {},
        query: {},
        withResponse: true,
      });
      return answer.status === 404 ? typed(answer.data.code) : failed(answer.status);
    },
  };
};
