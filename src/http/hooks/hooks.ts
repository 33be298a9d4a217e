/** What happens to every request beside its handler. */
import type { FastifyInstance } from 'fastify';
import { guardAnswers } from '../request/standing.ts';
import { type AdmissionParts, addAdmissionHooks } from './admission-hooks.ts';
import { type AnswerParts, finishAnswers, startAnswers } from './answer-hooks.ts';
import { addBodyHooks, type BodyParts } from './body-hooks.ts';

/** Adds the hooks. Fastify runs those of one kind in the order in which they are added. */
export function addHooks(app: FastifyInstance, parts: AdmissionParts & AnswerParts & BodyParts): void {
  startAnswers(app, parts);
  addAdmissionHooks(app, parts);
  addBodyHooks(app, parts);
  guardAnswers(app);
  finishAnswers(app, parts);
}
