import { type Connect, failed, typed } from '../adapter.ts';
import * as api from './made/client.ts';

declare global {
  var PSYNCD_URL: string;
}

export const connect: Connect = (url) => {
  const at = <T>(call: () => T): T => {
    globalThis.PSYNCD_URL = url;
    return call();
  };
  return {
    put: async (key, bytes) => {
      const answer = await at(() => api.putKey(key, new Blob([bytes])));
      if (answer.status !== 200 && answer.status !== 201) failed(answer);
    },
    get: async (key) => {
      const answer = await at(() => api.getKey(key));
      return answer.status === 200 && answer.data instanceof Blob ? answer.data : failed(answer);
    },
    batch: async (ops) => {
      const answer = await at(() => api.batch({ ops }));
      return answer.status === 200 ? answer.data.results : failed(answer);
    },
    page: async (prefix, after, limit) => {
      const answer = await at(() => api.listKeys({ prefix, limit, ...(after !== undefined && { after }) }));
      return answer.status === 200 ? answer.data : failed(answer);
    },
    codeOf: async (key) => {
      const answer = await at(() => api.deleteKey(key));
      return answer.status === 404 ? typed(answer.data.code) : failed(answer);
    },
  };
};
