/** Refuses requests before anything of them is read, and finds out who sends the others. */
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import type { Access } from '../../access/access.ts';
import type { Principal } from '../../access/principal.ts';
import type { Node } from '../../node/node.ts';
import { Problem } from '../../node/problem.ts';
import { type Admission, isForeignPage, mayChange } from '../../web/origins.ts';
import { checkQuery, refuseTokenInQuery } from '../../web/query.ts';
import type { KnownPaths } from '../known-paths.ts';
import { watchStanding } from '../request/standing.ts';
import { mustBeAllowed, requirementOf } from '../required-rights.ts';
import { elsewhere, type Side } from '../sides.ts';
import { refuseNamedNode } from './named-nodes.ts';

declare module 'fastify' {
  interface FastifyRequest {
    /** Who sends the request. */
    principal: Principal;
  }
}

/** Everybody may ask it, but from its status the pages of other origins would learn what a replica lacks. */
const READINESS = '/readyz';

/** Answers a request that ends while it waits. */
export type End = (problem: Problem, request: FastifyRequest, reply: FastifyReply) => void;

export interface AdmissionParts {
  readonly node: Pick<Node, 'closing'>;
  readonly access: Access;
  readonly settings: Admission;
  readonly side: Side;
  readonly known: KnownPaths;
  readonly end: End;
}

/** Refuses requests that the node does not take now, that say what they may not, or whose sender lacks the right. */
export function addAdmissionHooks(
  app: FastifyInstance,
  { node, access, settings, side, known, end }: AdmissionParts,
): void {
  app.decorateRequest('principal').decorateRequest('standing');
  app.addHook('onRequest', (_request, reply, done) => {
    if (!node.closing) return done();
    reply.header('connection', 'close');
    return done(new Problem('SHUTTING_DOWN', 'the node is shutting down'));
  });
  app.addHook('onRequest', (request, _reply, done) => {
    checkQuery(request.url);
    done();
  });
  app.addHook('onRequest', (request, reply, done) => {
    refuseTokenInQuery(request.url);
    const allow = (): void => {
      const problem = request.is404 ? null : elsewhere(side, request);
      if (problem !== null) throw problem;
      if (!request.is404 && !access.isOpen && side !== 'metrics') mustBeAllowed(request.principal, request);
      if (!request.is404) refuseNamedNode(access, request);
      // What everybody may ask has no sender.
      if (request.principal === undefined) return;
      watchStanding(access, settings.proxies, request, reply, (problem) => end(problem, request, reply));
    };
    // Nobody needs a token on the listener for metrics.
    const verifying = side === 'metrics' ? null : authenticate(access, settings, request);
    if (verifying !== null) verifying.then(allow).then(() => done(), done);
    else {
      allow();
      done();
    }
  });
  // A page of another origin may send simple requests without asking.
  app.addHook('onRequest', (request, _reply, done) => {
    const problem = refusalOfPage(request, settings, side);
    if (problem === null) done();
    else done(problem);
  });
  // Whatever body it has: that is not looked at.
  app.addHook('onRequest', (request, reply, done) => {
    if (request.is404) known.answer(request, reply);
    else done();
  });
}

/** @returns why the page that asks may not; null: it may, or no page asks */
function refusalOfPage(request: FastifyRequest, settings: Admission, side: Side): Problem | null {
  const { method, raw } = request;
  if (method === 'OPTIONS') return null;
  if (method === 'GET' || method === 'HEAD') {
    // The browser lets it read nothing. But from whether an image, a prefetch or a page loads, and from how long that takes, it would
    // learn which keys there are, or what a replica lacks; and some reads make the node work.
    const tellsNothing = requirementOf(request) === 'open' && request.routeOptions.url !== READINESS;
    if (request.is404 || tellsNothing || !isForeignPage(raw, settings, side !== 'admin')) return null;
    const message =
      'pages of other origins may not ask this node, nor have a link followed to it; --allow-origin lets them ask, ' +
      'and a URL that is typed in is answered';
    return new Problem('FORBIDDEN', message);
  }
  if (mayChange(raw, settings, side !== 'admin')) return null;
  return new Problem(
    'FORBIDDEN',
    `pages of ${raw.headers.origin ?? 'other origins'} may not change anything on this node; --allow-origin lets them`,
  );
}

/**
 * Finds out who sends the request.
 * @returns what to wait for, because a token is being verified; null: nothing
 * @throws Problem UNAUTHORIZED; BAD_REQUEST for what is no token; TOO_MANY_REQUESTS. A promise rejects with the same.
 */
function authenticate(access: Access, { proxies }: Admission, request: FastifyRequest): Promise<void> | null {
  if (access.isOpen) {
    request.principal = access.anybody;
    return null;
  }
  if (!request.is404 && requirementOf(request) === 'open') return null;
  const known = (principal: Principal): void => {
    request.principal = principal;
  };
  const { raw } = request;
  const sender = access.authenticate(raw.headers.authorization, raw.socket, proxies.addressOf(raw));
  if (sender instanceof Promise) return sender.then(known);
  known(sender);
  return null;
}
