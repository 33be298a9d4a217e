/** Limits the memory for requests and answers of all connections together. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { BodyBudget } from '../bodies/body-budget.ts';
import { Pipelines } from './pipelines.ts';
import { UnreadAnswers } from './unread-answers.ts';

/** Memory for the answers that everybody may ask for, in bytes: strangers use up theirs, and not the room of clients with tokens. */
export const OPEN_ANSWER_BYTES = 16 * 1024 * 1024;

export class Traffic {
  /** Request bodies: half of the limit. */
  readonly bodies: BodyBudget;
  /** Answers: the other half. */
  readonly answers: UnreadAnswers;
  /** Answers to what everybody may ask. */
  readonly openAnswers: UnreadAnswers;
  readonly pipelines = new Pipelines();

  /**
   * @param limitBytes returns the memory that bodies and answers may take together
   * @param clientOf returns the name of the client that sends a request
   */
  constructor(limitBytes: () => number, clientOf: (request: IncomingMessage) => string) {
    const half = (): number => limitBytes() / 2;
    this.bodies = new BodyBudget(half, (body) => clientOf(body as IncomingMessage));
    this.answers = new UnreadAnswers(half, this.pipelines, clientOf);
    const halfOrLess = (): number => Math.min(half(), OPEN_ANSWER_BYTES);
    this.openAnswers = new UnreadAnswers(halfOrLess, this.pipelines, clientOf);
  }

  /** The limit in which the answer counts: that in which it was admitted. */
  limitOf(response: ServerResponse): UnreadAnswers {
    return this.openAnswers.has(response) ? this.openAnswers : this.answers;
  }
}
