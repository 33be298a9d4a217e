/** How the requests of many connections share the event loop. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { Rounds, STARTS_MS } from '../../src/http/fast-path/rounds.ts';

/** A loop whose turns the test makes. */
class FakeLoop {
  ms = 0;
  #due: (() => void)[] = [];

  monotonic(): number {
    return this.ms;
  }

  soon(callback: () => void): void {
    this.#due.push(callback);
  }

  /** @returns whether there was something to do */
  turn(): boolean {
    const due = this.#due.splice(0);
    for (const callback of due) callback();
    return due.length > 0;
  }
}

test('a connection with a thousand requests lets every other connection have its turn in between', () => {
  const loop = new FakeLoop();
  const rounds = new Rounds(loop);
  const started: string[] = [];
  const connection = (name: string, count: number) => {
    let left = count;
    return {
      startNext: () => {
        started.push(name);
        loop.ms += 1;
        left -= 1;
        return left > 0;
      },
    };
  };
  assert.equal(rounds.isOpen, true);
  rounds.join(connection('many', 1_000));
  assert.equal(rounds.isOpen, false, 'who comes later does not pass those who wait');
  loop.turn();
  assert.ok(started.length <= STARTS_MS + 1, 'a turn of the event loop takes no longer than it may');
  rounds.join(connection('one', 1));
  loop.turn();
  assert.ok(started.indexOf('one') <= STARTS_MS + 3, 'one round, not a thousand requests');
  while (loop.turn());
  assert.equal(started.filter((name) => name === 'many').length, 1_000);
  assert.equal(rounds.isOpen, true);
});
