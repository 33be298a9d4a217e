/** Node's own event loop, for what gives it its turn. */
import type { World } from '../../node/ports.ts';
import type { Loop } from '../../node/turns.ts';

export const EVENT_LOOP: Loop & Pick<World, 'after'> = {
  monotonic: () => performance.now(),
  soon: (callback) => {
    setImmediate(callback);
  },
  after: (delayMs, callback) => {
    const timer = setTimeout(callback, delayMs).unref();
    return () => clearTimeout(timer);
  },
};
