/** Lets one thread in at a time, until another one closes it, which waits until nobody is inside. */

const FREE = 0;
const TAKEN = 1;
const CLOSED = 2;

/** How long `close` waits for whoever is inside: a thread that was killed there does not come out any more. */
const MAX_WAIT_MS = 30_000;

export class Gate {
  /** Given to the other thread. */
  readonly shared: Int32Array<SharedArrayBuffer>;

  constructor(shared = new Int32Array(new SharedArrayBuffer(Int32Array.BYTES_PER_ELEMENT))) {
    this.shared = shared;
  }

  /** Does it inside. @returns false, and nothing was done, if the gate is closed or somebody is inside */
  enter(inside: () => void): boolean {
    if (Atomics.compareExchange(this.shared, 0, FREE, TAKEN) !== FREE) return false;
    try {
      inside();
    } finally {
      Atomics.store(this.shared, 0, FREE);
      Atomics.notify(this.shared, 0);
    }
    return true;
  }

  close(): void {
    while (Atomics.compareExchange(this.shared, 0, FREE, CLOSED) === TAKEN) {
      if (Atomics.wait(this.shared, 0, TAKEN, MAX_WAIT_MS) === 'timed-out') return;
    }
  }
}
