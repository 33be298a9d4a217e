/** Limits the memory for requests and answers of all connections together. */
import { BodyBudget } from '../bodies/body-budget.ts';
import { Pipelines } from './pipelines.ts';
import { UnreadAnswers } from './unread-answers.ts';

export class Traffic {
  /** Request bodies: half of the limit. */
  readonly bodies: BodyBudget;
  /** Answers: the other half. */
  readonly answers: UnreadAnswers;
  readonly pipelines = new Pipelines();

  /** @param limitBytes returns the memory that bodies and answers may take together */
  constructor(limitBytes: () => number) {
    const half = (): number => limitBytes() / 2;
    this.bodies = new BodyBudget(half);
    this.answers = new UnreadAnswers(half, this.pipelines);
  }
}
