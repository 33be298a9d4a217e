/**
 * The node, as the thread of `--metrics-listen` sees it: everything is asked of the main thread, which does not answer while it is busy.
 * Scrapes get the last text as long as the main thread allows, so that they do not take its time; whoever waits too long for an answer
 * gets a problem, so that a node that is stuck does not look like one that is well.
 */
import type { World } from '../../node/ports/world.ts';
import { Problem, unexpectedProblem } from '../../node/problem.ts';
import type { Wanted } from '../../node/readiness.ts';
import type { Answer, NodeState, Question, SentText } from './messages.ts';

/** How long a request waits for the main thread, in milliseconds. Prometheus waits for ten seconds if it is told nothing else. */
export const ANSWER_MS = 5_000;
/** Largest age of the state that an answer carries which is about something else, in milliseconds. */
const STATE_AGE_MS = 1_000;
/** Largest number of questions that the main thread has not answered yet. */
export const MAX_QUESTIONS = 256;

export class AskedNode {
  readonly #ask: (id: number, question: Question) => void;
  readonly #world: Pick<World, 'after' | 'monotonic'>;
  #state: NodeState;
  /** When the state came. */
  #stateAt: number;
  #text: SentText | null = null;
  #textAt = 0;
  #questions = 0;
  /** What takes the answers, by the numbers of the questions. */
  readonly #open = new Map<number, (answer: Answer) => void>();
  /** The questions that have the same answer for everybody who asks meanwhile. */
  readonly #shared = new Map<'state' | 'metrics', Promise<Answer>>();

  /** @param ask sends a question to the main thread */
  constructor(
    first: NodeState,
    ask: (id: number, question: Question) => void,
    world: Pick<World, 'after' | 'monotonic'>,
  ) {
    this.#state = first;
    this.#ask = ask;
    this.#world = world;
    this.#stateAt = world.monotonic();
  }

  /** As the last answer has it. */
  get state(): NodeState {
    return this.#state;
  }

  get position(): NodeState['position'] {
    return this.#state.position;
  }

  get role(): NodeState['role'] {
    return this.#state.role;
  }

  get closing(): boolean {
    return this.#state.closing;
  }

  /** The last metrics, as long as they are to be used; null: scrapes get new ones. */
  get keptText(): SentText | null {
    const text = this.#text;
    return text !== null && this.#world.monotonic() - this.#textAt < text.restMs ? text : null;
  }

  /** Takes an answer of the main thread. */
  answered(answer: Answer): void {
    const now = this.#world.monotonic();
    this.#state = answer.state;
    this.#stateAt = now;
    if (answer.text !== null) {
      this.#text = answer.text;
      this.#textAt = now;
    }
    const take = this.#open.get(answer.id);
    this.#open.delete(answer.id);
    take?.(answer);
  }

  /**
   * Resolves to the metrics: of this moment, or the last ones as long as those are to be used.
   * @throws Problem LOADING if the main thread does not answer in time
   */
  async scrape(): Promise<SentText> {
    const kept = this.keptText;
    if (kept !== null) return kept;
    const { text } = await this.#inTime(this.#sharedAnswer('metrics'));
    if (text === null) throw unexpectedProblem();
    return text;
  }

  /**
   * Resolves when the state is one of the last second.
   * @throws Problem LOADING if the main thread does not answer in time
   */
  async refresh(): Promise<void> {
    if (this.#world.monotonic() - this.#stateAt < STATE_AGE_MS) return;
    await this.#inTime(this.#sharedAnswer('state'));
  }

  /**
   * @returns why this is not the wanted node now; null: it is
   * @throws Problem LOADING if the main thread does not answer in time
   */
  async unready(wanted: Wanted): Promise<Problem | null> {
    const { unready } = await this.#inTime(this.#answer({ about: 'readiness', wanted }));
    return unready === null ? null : new Problem(unready.code, unready.message);
  }

  #sharedAnswer(about: 'state' | 'metrics'): Promise<Answer> {
    const present = this.#shared.get(about);
    if (present !== undefined) return present;
    const asked = this.#answer({ about }).finally(() => this.#shared.delete(about));
    this.#shared.set(about, asked);
    return asked;
  }

  /** Asks; resolves when the main thread answers, however late that is. */
  #answer(question: Question): Promise<Answer> {
    if (this.#open.size >= MAX_QUESTIONS) return Promise.reject(busy());
    this.#questions += 1;
    const id = this.#questions;
    return new Promise((resolve) => {
      this.#open.set(id, resolve);
      this.#ask(id, question);
    });
  }

  #inTime(answer: Promise<Answer>): Promise<Answer> {
    return new Promise((resolve, reject) => {
      const cancel = this.#world.after(ANSWER_MS, () => reject(busy()));
      answer.then(resolve, reject).finally(cancel);
    });
  }
}

function busy(): Problem {
  return new Problem('LOADING', 'the node is too busy to answer its listener for metrics; try again');
}
