import * as Oazapfts from '@oazapfts/runtime';
import { type Connect, failed, typed } from '../adapter.ts';
import * as api from './made/client.ts';

export const connect: Connect = (baseUrl) => {
  const { fetchBlob } = Oazapfts.runtime({ ...api.defaults, baseUrl });
  return {
    put: async (key, bytes) => {
      await Oazapfts.ok(api.putKey(key, new Blob([bytes]), {}, { baseUrl }));
    },
    get: async (key) => {
      const { status, data } = await fetchBlob<{ status: number; data: Blob }>(
        `/v1/keys/${encodeURIComponent(key)}`,
      );
      return status === 200 ? data : failed(status);
    },
    batch: async (ops) => (await Oazapfts.ok(api.batch({ ops }, {}, { baseUrl }))).results,
    page: (prefix, after, limit) =>
      Oazapfts.ok(api.listKeys({ prefix, limit, ...(after !== undefined && { after }) }, { baseUrl })),
    codeOf: async (key) => {
      const answer = await api.getKey(key, {}, { baseUrl });
      return answer.status === 404 ? typed(answer.data.code) : failed(answer);
    },
  };
};
