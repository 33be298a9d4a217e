/**
 * Whether a request that takes longer than its tick may go on. Its sender's token may be revoked or expire meanwhile: then the request
 * is answered with 401 within a second, what it waits for ends, and nothing that it still finds out is sent. A write that the node has
 * carried out is answered all the same. Every request of Fastify's that has a sender has a standing (`standings`), so a new route
 * needs nothing of its own, except that what it changes asks `atDecision` first.
 */
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import type { Access } from '../../access/access.ts';
import { refusalHeaders } from '../../access/access-problem.ts';
import { clientName } from '../../access/client-name.ts';
import type { Principal } from '../../access/principal.ts';
import type { Problem } from '../../node/problem.ts';
import type { Sender } from '../../node/write/sender.ts';
import { PROBLEM_TYPE, problemText } from '../../web/problem-body.ts';
import type { Proxies } from '../../web/proxies.ts';
import { whenClosed } from '../../web/when-closed.ts';

declare module 'fastify' {
  interface FastifyRequest {
    /** Whether it may go on; of all requests that have a sender. */
    standing: Standing;
  }
}

export class Standing implements Sender {
  /** Adds what the route knows to the problem with which the request ends. */
  explained: (problem: Problem) => Problem = (problem) => problem;
  readonly #principal: Principal;
  #end: AbortController | null = null;
  #hasEnded = false;
  #lost: Problem | null = null;
  readonly #addressOf: () => string;
  #isDone = false;

  /** @param addressOf returns the address of the client */
  constructor(principal: Principal, addressOf: () => string) {
    this.#principal = principal;
    this.#addressOf = addressOf;
  }

  /** Name of the client, by which limits count. */
  get client(): string {
    return clientName(this.#principal, this.#addressOf());
  }

  /** Aborts when the request is over: its client or its token has gone. */
  get signal(): AbortSignal {
    this.#end ??= new AbortController();
    if (this.#hasEnded) this.#end.abort();
    return this.#end.signal;
  }

  /** Why the request may not go on; null: it may. */
  get over(): Problem | null {
    return this.#lost ?? this.#principal.over;
  }

  /** Whether the node carries out what was asked, or has done so: then the answer says what came of it. */
  get isDone(): boolean {
    return this.#isDone;
  }

  /** Asked right before something is changed. @see Sender */
  atDecision(): Problem | null {
    const { over } = this;
    this.#isDone = over === null;
    return over;
  }

  /** As `atDecision`, for a change that is made at once. @throws Problem UNAUTHORIZED */
  decide(): void {
    const over = this.atDecision();
    if (over !== null) throw over;
  }

  /** What was carried out is only a part of the request. */
  goesOn(): void {
    this.#isDone = false;
  }

  /** Waits, and asks again. @throws Problem UNAUTHORIZED if the request may not go on; what the wait throws */
  async after<T>(wait: Promise<T> | null): Promise<T | null> {
    const result = await wait;
    this.mustGoOn();
    return result;
  }

  /** @throws Problem UNAUTHORIZED */
  mustGoOn(): void {
    const { over } = this;
    if (over !== null) throw over;
  }

  /** Ends all waits of the request, for good. @param problem null: its client has gone */
  end(problem: Problem | null): void {
    this.#lost ??= problem;
    this.#hasEnded = true;
    this.#end?.abort();
  }
}

/**
 * Gives each request a standing; to be called when its sender is known.
 * @param proxies say which address the client has
 * @param answer answers a request that ends while it waits
 */
export function watchStanding(
  access: Access,
  proxies: Proxies,
  request: FastifyRequest,
  reply: FastifyReply,
  answer: (problem: Problem) => void,
): void {
  const { principal } = request;
  const standing = new Standing(principal, () => proxies.addressOf(request.raw));
  request.standing = standing;
  const watch = access.watch(principal, {
    // With other rights the request would have been another one.
    may: (now) => now === principal,
    revoked: () => {
      standing.end(principal.invalid);
      if (!standing.isDone && !isAnswered(reply)) answer(standing.explained(principal.invalid));
    },
  });
  // The client may have gone while its token was verified.
  whenClosed(reply.raw, () => {
    watch.end();
    standing.end(null);
  });
}

/** Sends 401 in the place of every answer whose request may not go on, whatever the route has found out. */
export function guardAnswers(app: FastifyInstance): void {
  app.addHook('onSend', (request, reply, payload, done) => {
    // Of a request that was refused before its sender was known there is no standing.
    const standing = request.standing as Standing | undefined;
    answered.add(reply);
    const over = standing === undefined || standing.isDone ? null : standing.over;
    if (over === null || reply.statusCode === 401) return done(null, payload);
    if (payload !== null && typeof payload === 'object' && 'destroy' in payload) {
      (payload as { destroy(): void }).destroy();
    }
    for (const name of Object.keys(reply.getHeaders())) if (!KEPT.test(name)) reply.removeHeader(name);
    reply.code(over.status).headers(refusalHeaders(over)).type(PROBLEM_TYPE);
    return done(null, problemText(over));
  });
}

/** Headers that say nothing of what the request has found out. */
const KEPT = /^(?:access-control-|vary$|x-content-type-options$|connection$|ratelimit)/;

/** Answers that are on their way. */
const answered = new WeakSet<FastifyReply>();

function isAnswered(reply: FastifyReply): boolean {
  return answered.has(reply) || reply.sent || reply.raw.headersSent;
}
