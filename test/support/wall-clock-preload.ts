/**
 * Loaded into a node before anything else (`--import`): its wall clock is wrong by as many milliseconds as the file says that
 * `PSYNCD_TEST_CLOCK` names, from a moment after they were written there. Its timers and its monotonic clock stay as they are.
 */
import { readFileSync } from 'node:fs';

/** How often it looks into the file, in milliseconds. */
const LOOK_MS = 20;

const path = process.env.PSYNCD_TEST_CLOCK;
if (path !== undefined) {
  const RealDate = Date;
  const realNow = Date.now;
  let wrongByMs = 0;
  const look = (): void => {
    wrongByMs = Number(readFileSync(path, 'utf8'));
  };
  const now = (): number => realNow() + wrongByMs;
  look();
  setInterval(look, LOOK_MS).unref();
  Date.now = now;
  globalThis.Date = new Proxy(RealDate, {
    construct: (target, given: [] | [number]) =>
      given.length === 0 ? new target(now()) : new target(...given),
  });
}
