/**
 * The states that an honest node goes through. Each of them follows from its number, which it contains: so whoever holds a
 * copy can tell whether it is a whole one, without asking the node.
 */
import { FeedModel, set } from '../../support/feed-model.ts';

export const MARK = 'mark';
/** Only lies have this key. */
export const POISON = 'poison';
/** Nobody asks for this key, so a follower must not get it, even where everything else is right. */
export const FOREIGN = 'foreign';
/** What a program asks for: all keys but the foreign one. */
export const PREFIXES: readonly string[] = [MARK, 'key', 'even', POISON];
const KEYS = 5;

/** What the state of this number holds, by key. */
export function stateOf(number: number): ReadonlyMap<string, string> {
  const state = new Map([[MARK, `${number}`]]);
  for (let last = Math.max(1, number - KEYS + 1); last <= number; last += 1)
    state.set(keyOf(last), `${last}`);
  if (number % 2 === 0) state.set('even', 'yes');
  return state;
}

/** @returns what is wrong with a copy; null: it is a whole state of the node */
export function faultOf(copy: ReadonlyMap<string, unknown>): string | null {
  const mark = copy.get(MARK);
  const expected = stateOf(Number(mark));
  const isWhole =
    copy.size === expected.size && [...expected].every(([key, value]) => copy.get(key) === value);
  return isWhole ? null : `mark ${mark}: ${JSON.stringify([...copy])}`;
}

/** An honest node's history. */
export class Truth {
  /** Histories, the present one last: the others were given up. */
  readonly #models = [new FeedModel(runId(0))];
  #runIds = 1;
  #number = 0;

  constructor() {
    this.write();
  }

  get model(): FeedModel {
    return this.#models.at(-1) as FeedModel;
  }

  get number(): number {
    return this.#number;
  }

  /** The next state, as one batch. @returns its event */
  write(): object {
    this.#number += 1;
    const number = this.#number;
    return this.model.write(
      set(MARK, `${number}`, number),
      set(keyOf(number), `${number}`, number),
      number % 2 === 0 ? set('even', 'yes', number) : { type: 'delete', key: 'even' },
    );
  }

  /** The history gets another run ID. */
  promote(): void {
    this.model.promote(runId(this.#runIds));
    this.#runIds += 1;
  }

  /** Another history begins, with the same data. */
  forget(): void {
    const next = new FeedModel(runId(this.#runIds));
    this.#runIds += 1;
    for (const [key, value] of stateOf(this.#number)) next.set(key, value);
    this.#models.push(next);
    this.write();
  }
}

function keyOf(number: number): string {
  return `key${number % KEYS}`;
}

function runId(index: number): string {
  return index.toString(16).padStart(40, '0');
}
