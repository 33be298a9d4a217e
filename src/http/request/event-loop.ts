/** Node's event loop, as the turn-taking code uses it. */
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
