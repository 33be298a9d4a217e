/** What requests and answers take of the memory, on all connections together. */
import { BodyBudget } from './body-budget.ts';
import { Pipelines } from './pipelines.ts';
import { UnreadAnswers } from './unread-answers.ts';

export class Traffic {
  /** Half of the limit. */
  readonly bodies: BodyBudget;
  /** The other half. */
  readonly answers: UnreadAnswers;
  readonly pipelines = new Pipelines();

  /** @param limitBytes what bodies and answers may take together */
  constructor(limitBytes: () => number) {
    const half = (): number => limitBytes() / 2;
    this.bodies = new BodyBudget(half);
    this.answers = new UnreadAnswers(half, this.pipelines);
  }
}
