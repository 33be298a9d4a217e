/** What answers requests that no route takes. */
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { Problem } from '../node/problem.ts';
import { shownRoute } from '../web/record/request-counts.ts';
import { noSuchPath, sendProblem } from './problem.ts';
import { rewriteKeyUrl } from './request/key.ts';
import { isOnSide, type Side } from './sides.ts';

/** More segments than any pattern has. */
const MAX_SEGMENTS = 10;

/** Which paths there are, and with which methods. */
export class KnownPaths {
  readonly #methods = new Map<string, Set<string>>();
  /** Paths of all sides, as routes name them. */
  readonly #patterns = new Set<string>();

  /** @param side only paths of this side are known */
  constructor(app: FastifyInstance, side: Side) {
    app.addHook('onRoute', ({ url, method, schema }) => {
      this.#patterns.add(url);
      if (!isOnSide(side, { url, schema })) return;
      const methods = this.#methods.get(url) ?? new Set(['OPTIONS']);
      for (const each of [method].flat()) methods.add(each);
      this.#methods.set(url, methods);
    });
  }

  /** Answers a request that no route takes: OPTIONS, a method that the path does not have, or no such path. */
  answer(request: FastifyRequest, reply: FastifyReply): FastifyReply {
    if (request.method === 'OPTIONS' && request.originalUrl === '*') return this.#answerForServer(reply);
    const path = request.url.split('?')[0] ?? '';
    if (path === '/v1/keys/') return sendProblem(reply, new Problem('BAD_REQUEST', 'the key is empty'));
    // `/v1/keys/k/append` is an operation for POST and a key for GET: what is allowed is both.
    const forms = ['OPTIONS', 'GET'].map(
      (method) => rewriteKeyUrl(request.originalUrl, method).split('?')[0] ?? '',
    );
    const methods = new Set(
      [...this.#methods].flatMap(([pattern, each]) =>
        forms.some((form) => matches(pattern, form)) ? [...each] : [],
      ),
    );
    if (methods.size === 0) {
      return sendProblem(reply, noSuchPath(request));
    }
    reply.header('allow', [...methods].sort().join(', '));
    if (request.method === 'OPTIONS') return reply.code(204).send();
    const detail = `${request.method} is not allowed on ${request.originalUrl.split('?')[0]}`;
    return sendProblem(reply, new Problem('METHOD_NOT_ALLOWED', detail));
  }

  /**
   * @param target of a request, as clients send it
   * @returns its path with placeholders for what clients choose, `/v1/keys/{key}`; `unknown` if no route has it, because there may
   *   be anything in it
   */
  shown(method: string | undefined, target: string): string {
    const path = rewriteKeyUrl(target, method).split('?')[0] ?? '';
    if (this.#patterns.has(path)) return path;
    // A long path that nobody knows is not taken apart once for each pattern.
    if (path.split('/', MAX_SEGMENTS).length === MAX_SEGMENTS && !path.startsWith('/docs/')) return 'unknown';
    for (const pattern of this.#patterns) if (matches(pattern, path)) return shownRoute(pattern);
    return 'unknown';
  }

  /** `OPTIONS *` asks about the server as a whole (RFC 9110, 9.3.7). */
  #answerForServer(reply: FastifyReply): FastifyReply {
    const methods = new Set([...this.#methods.values()].flatMap((each) => [...each]));
    return reply
      .header('allow', [...methods].sort().join(', '))
      .code(204)
      .send();
  }
}

/** `/v1/keys/:key/expiry` stands for every path with one segment where the name is, `/docs/*` for every one below. */
function matches(pattern: string, path: string): boolean {
  if (pattern.endsWith('/*')) return path.startsWith(pattern.slice(0, -1));
  const [expected, segments] = [pattern.split('/'), path.split('/')];
  return (
    expected.length === segments.length &&
    expected.every(
      (part, index) => part === segments[index] || (part.startsWith(':') && segments[index] !== ''),
    )
  );
}
