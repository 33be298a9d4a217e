/** What answers requests that no route takes. */
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { Problem } from '../node/problem.ts';
import { shownRoute } from '../web/record/request-counts.ts';
import { noSuchPath, sendProblem } from './problem.ts';
import { rewriteKeyUrl } from './request/key.ts';
import { isOnSide, type Side } from './sides.ts';

/** More segments than any pattern has: a longer path is not taken apart any further. */
const MAX_SEGMENTS = 10;

/** Paths of one kind, as a route names them: `/v1/keys/:key/expiry`. */
interface Pattern {
  readonly url: string;
  /** Null: the pattern ends in `*`, and stands for every path below. */
  readonly segments: readonly string[] | null;
}

/** Which paths there are, and with which methods. */
export class KnownPaths {
  readonly #methods = new Map<Pattern, Set<string>>();
  /** Paths of all sides, by their URLs. */
  readonly #patterns = new Map<string, Pattern>();

  /** @param side only paths of this side are known */
  constructor(app: FastifyInstance, side: Side) {
    app.addHook('onRoute', ({ url, method, schema }) => {
      const pattern = this.#patterns.get(url) ?? patternOf(url);
      this.#patterns.set(url, pattern);
      if (!isOnSide(side, { url, schema })) return;
      const methods = this.#methods.get(pattern) ?? new Set(['OPTIONS']);
      for (const each of [method].flat()) methods.add(each);
      this.#methods.set(pattern, methods);
    });
  }

  /** Answers a request that no route takes: OPTIONS, a method that the path does not have, or no such path. */
  answer(request: FastifyRequest, reply: FastifyReply): FastifyReply {
    if (request.method === 'OPTIONS' && request.originalUrl === '*') return this.#answerForServer(reply);
    const path = request.url.split('?', 1)[0] ?? '';
    if (path === '/v1/keys/') return sendProblem(reply, new Problem('BAD_REQUEST', 'the key is empty'));
    // `/v1/keys/k/append` is an operation for POST and a key for GET: what is allowed is both.
    const forms = ['OPTIONS', 'GET'].map((method) => pathOf(request.originalUrl, method));
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
    const detail = `${request.method} is not allowed on ${request.originalUrl.split('?', 1)[0]}`;
    return sendProblem(reply, new Problem('METHOD_NOT_ALLOWED', detail));
  }

  /**
   * @param target of a request, as clients send it
   * @returns its path with placeholders for what clients choose, `/v1/keys/{key}`; `unknown` if no route has it, because there may
   *   be anything in it
   */
  shown(method: string | undefined, target: string): string {
    const path = pathOf(target, method);
    if (this.#patterns.has(path.text)) return path.text;
    for (const pattern of this.#patterns.values()) if (matches(pattern, path)) return shownRoute(pattern.url);
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

/** The path of a request. */
interface Path {
  readonly text: string;
  /** The first `MAX_SEGMENTS` of its segments. */
  readonly segments: readonly string[];
}

function pathOf(target: string, method: string | undefined): Path {
  const text = rewriteKeyUrl(target, method).split('?', 1)[0] ?? '';
  return { text, segments: text.split('/', MAX_SEGMENTS) };
}

function patternOf(url: string): Pattern {
  return { url, segments: url.endsWith('/*') ? null : url.split('/') };
}

/** `/v1/keys/:key/expiry` stands for every path with one segment where the name is, `/docs/*` for every one below. */
function matches(pattern: Pattern, { text, segments }: Path): boolean {
  if (pattern.segments === null) return text.startsWith(pattern.url.slice(0, -1));
  return (
    pattern.segments.length === segments.length &&
    pattern.segments.every(
      (part, index) => part === segments[index] || (part.startsWith(':') && segments[index] !== ''),
    )
  );
}
