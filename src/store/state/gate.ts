/**
 * A lock between two threads: one thread enters and leaves, until the other closes the gate for good and waits until it
 * is empty.
 */

const FREE = 0;
const TAKEN = 1;
const CLOSED = 2;

/** Longest time that `close` waits, in milliseconds: a thread that was killed inside never leaves. */
const MAX_WAIT_MS = 30_000;

export class Gate {
  /** Memory to pass to the other thread. */
  readonly shared: Int32Array<SharedArrayBuffer>;

  constructor(shared = new Int32Array(new SharedArrayBuffer(Int32Array.BYTES_PER_ELEMENT))) {
    this.shared = shared;
  }

  /**
   * Runs `inside` within the gate.
   * @returns false, without running it, if the gate is closed or occupied
   */
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
