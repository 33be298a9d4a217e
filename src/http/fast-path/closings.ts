/**
 * Makes the ends of connections with many waiting requests take turns.
 *
 * When a connection closes, Node destroys each of its unanswered requests at once, some ten microseconds each. One packet
 * can hold two thousand requests, and one turn of the event loop can find that a hundred such connections were reset.
 */
import type { Socket } from 'node:net';
import { type Loop, Turns } from '../../node/turns.ts';

/** Node's listener that destroys the requests. If a later Node names it otherwise, the ends take no turns. */
const NODES_LISTENER = 'bound socketOnClose';

export class Closings {
  readonly #loop: Loop;
  /** What is left to do for closed connections, in the order in which they closed. */
  #waiting: (() => void)[] = [];

  constructor(loop: Loop) {
    this.#loop = loop;
  }

  /**
   * Makes what Node does when this connection closes wait for its turn.
   * @returns a function to call when the connection no longer speaks HTTP
   */
  take(socket: Socket): () => void {
    const nodes = socket.listeners('close').filter(({ name }) => name === NODES_LISTENER) as (() => void)[];
    for (const each of nodes) socket.off('close', each);
    const closed = (): void => {
      for (const each of nodes) this.#join(each);
    };
    socket.once('close', closed);
    return () => socket.off('close', closed);
  }

  #join(work: () => void): void {
    if (this.#waiting.length === 0) this.#loop.soon(() => this.#run());
    this.#waiting.push(work);
  }

  #run(): void {
    const turns = new Turns(this.#loop);
    const due = this.#waiting;
    let done = 0;
    while (done < due.length && (done === 0 || !turns.isOver)) {
      due[done]?.();
      done += 1;
    }
    this.#waiting = due.slice(done);
    if (this.#waiting.length > 0) this.#loop.soon(() => this.#run());
  }
}
