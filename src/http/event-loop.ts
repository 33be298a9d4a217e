/** Node's own event loop, for what gives it its turn. */
import type { Loop } from '../node/turns.ts';

export const EVENT_LOOP: Loop = {
  monotonic: () => performance.now(),
  soon: (callback) => {
    setImmediate(callback);
  },
};
