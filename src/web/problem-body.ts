/** Writes a problem as RFC 9457 defines it, and as a complete HTTP answer where no HTTP server is in charge. */
import { PROBLEMS, type Problem, type ProblemCode } from '../node/problem.ts';

export const PROBLEM_TYPE = 'application/problem+json';
/** What a port with TLS answers to plain HTTP. psyncd/client knows the text too (`src/client/api-error.ts`). */
export const HTTPS_PORT_ANSWER = 'this is an https port\n';

export interface ProblemBody {
  readonly type: string;
  readonly title: string;
  readonly status: number;
  readonly code: ProblemCode;
  readonly detail: string;
  readonly [extra: string]: unknown;
}

/** The problem+json object. */
export function problemBody(problem: Problem): ProblemBody {
  return {
    type: `urn:psyncd:problem:${problem.code.toLowerCase().replaceAll('_', '-')}`,
    title: PROBLEMS[problem.code].title,
    status: problem.status,
    code: problem.code,
    detail: problem.message,
    ...problem.extra,
  };
}

/** @returns JSON as answers write it: with a newline at its end, so that a terminal shows the next prompt on a line of its own */
export function jsonLine(value: unknown): string {
  return `${JSON.stringify(value)}\n`;
}

/** The problem as the body of an answer. */
export function problemText(problem: Problem): string {
  return jsonLine(problemBody(problem));
}

/**
 * Writes a complete HTTP/1.1 answer, after which the caller closes the connection.
 * @param headers additional headers
 */
export function rawProblem(problem: Problem, headers: Readonly<Record<string, string>>): string {
  const body = problemText(problem);
  const all = {
    'Content-Type': PROBLEM_TYPE,
    // RFC 9110, 6.6.1.
    Date: new Date().toUTCString(),
    ...headers,
    'Content-Length': String(Buffer.byteLength(body)),
    Connection: 'Upgrade' in headers ? 'close, Upgrade' : 'close',
  };
  const lines = Object.entries(all).map(([name, value]) => `${name}: ${value}\r\n`);
  return `HTTP/1.1 ${problem.status} ${PROBLEMS[problem.code].title}\r\n${lines.join('')}\r\n${body}`;
}
