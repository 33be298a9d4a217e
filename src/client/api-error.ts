/** Errors of the REST API, and how to tell an answer of psyncd from one of something else, such as a captive portal. */
import type { ProblemAnswer } from './answers.ts';
import { isText } from './event.ts';
import { parsePosition } from './position.ts';

/** Most bytes of an answer that is read as a whole. psyncd's own have less: a batch reads 64 MiB, which JSON may double. */
const MAX_BYTES = 2 ** 28;

/** `BAD_ANSWER`: the answer is not psyncd's. A newer node may send codes that are not named here. */
export type ErrorCode = ProblemAnswer['code'] | 'BAD_ANSWER';

/** An error answer with its stable code. */
export class ApiError extends Error {
  override readonly name = 'ApiError';
  declare readonly status: number;
  declare readonly code: ErrorCode;
  /** The problem+json object. */
  declare readonly problem: Partial<ProblemAnswer> & Readonly<Record<string, unknown>>;

  constructor(status: number, problem: Readonly<Record<string, unknown>>) {
    super(isText(problem.detail) ? problem.detail : `HTTP status ${status}`);
    this.status = status;
    this.code = (isText(problem.code) ? problem.code : 'BAD_ANSWER') as ErrorCode;
    this.problem = problem;
  }
}

/**
 * Checks the status, the media type and the header `Psync-Position` of an answer.
 * @param type expected media type
 * @throws ApiError of the node, or `BAD_ANSWER`
 * @internal
 */
export async function checkAnswer(response: Response, type: string): Promise<void> {
  if (!response.ok) throw await problemOf(response);
  if (typeOf(response) === type && positionOf(response)) return;
  throw await badAnswer(response);
}

/** @returns the bytes of a value @internal */
export async function bytesOf(response: Response): Promise<Uint8Array<ArrayBuffer>> {
  await checkAnswer(response, 'application/octet-stream');
  return bodyOf(response);
}

/** @returns the text of an answer that is one @internal */
export async function textOf(response: Response): Promise<string> {
  await checkAnswer(response, 'text/plain');
  return new TextDecoder().decode(await bodyOf(response));
}

/**
 * Returns the JSON object of an answer.
 * @throws ApiError of the node, or `BAD_ANSWER`
 * @internal
 */
export async function jsonOf<T>(response: Response): Promise<T> {
  await checkAnswer(response, 'application/json');
  return objectOf(response) as Promise<T>;
}

/**
 * @returns a function that takes null for the answer that there is no such entry
 * @throws ApiError for any other error answer
 * @internal
 */
export function orNull<T>(
  read: (response: Response) => Promise<T>,
): (response: Response) => Promise<T | null> {
  return async (response) => {
    if (response.ok) return read(response);
    const problem = await problemOf(response);
    if (problem.code !== 'NOT_FOUND') throw problem;
    // Another server has its own idea of what is not found.
    if (!positionOf(response)) throw await badAnswer(response);
    return null;
  };
}

/** @returns the error of an answer that is not a good one @internal */
export async function problemOf(response: Response): Promise<ApiError> {
  if (typeOf(response) !== 'application/problem+json') return badAnswer(response);
  return new ApiError(response.status, await objectOf(response));
}

async function objectOf(response: Response): Promise<Readonly<Record<string, unknown>>> {
  const text = new TextDecoder().decode(await bodyOf(response));
  try {
    const object: unknown = JSON.parse(text);
    if (typeof object === 'object' && object !== null) return object as Readonly<Record<string, unknown>>;
  } catch {
    // It is no JSON.
  }
  throw await badAnswer(response);
}

/** @throws ApiError `BAD_ANSWER` if the body is longer than any of psyncd */
async function bodyOf(response: Response): Promise<Uint8Array<ArrayBuffer>> {
  const parts: Uint8Array<ArrayBuffer>[] = [];
  // A `fetch` without streams has no body, not even null: that is a TypeError here, and no empty value.
  const reader = response.body === null ? null : response.body.getReader();
  for (let room = MAX_BYTES; room >= 0; ) {
    const part = (await reader?.read())?.value;
    if (!part) return new Uint8Array(await new Blob(parts).arrayBuffer());
    parts.push(part);
    room -= part.length;
  }
  await reader?.cancel();
  throw await badAnswer(response);
}

/** @returns the error that names the answer @internal */
export async function badAnswer(response: Response): Promise<ApiError> {
  const { status, url } = response;
  // Nobody reads the rest, so the connection need not bring it.
  await response.body?.cancel().catch(() => undefined);
  const type = typeOf(response) || 'no Content-Type';
  const position = positionOf(response) ? '' : ', no Psync-Position';
  const detail = `${url} does not answer like psyncd: HTTP status ${status}, ${type}${position}`;
  return new ApiError(status, { detail });
}

function typeOf({ headers }: Response): string | undefined {
  return headers.get('content-type')?.toLowerCase().split(/[;\s]/)[0];
}

function positionOf({ headers }: Response): object | null {
  return parsePosition(headers.get('psync-position'));
}
