/**
 * Sends each request of a `Client` to a node that answers, and writes to the master, with the time that each has and the repetitions
 * that `Client` promises.
 */
import { ApiError } from '../api-error.ts';
import { BASE_RETRY_MS, FIRST_RETRY_MS, MAX_RETRY_MS } from '../backoff.ts';
import { baseOf, checkedLimit, MAX_LIMIT } from '../follow-options.ts';
import type { Signal } from '../platform.ts';
import { isBefore } from '../position.ts';
import { type Call, exchange, type Read, type Sender } from '../request/exchange.ts';
import type { WaitOptions } from '../request/options.ts';
import type { Trust } from '../request/redirect.ts';
import { pause, within } from '../within.ts';
import type { FullCallOptions, FullClientOptions } from './full-options.ts';

/** Most time for a request and its answer, in milliseconds, unless `timeoutMs` says otherwise. */
const TIMEOUT_MS = 30_000;
/** How often a call is repeated, unless `retries` says otherwise. */
const RETRIES = 3;
/** Codes of refusals: the node has carried nothing out. */
const REFUSED = /^(LOADING|NOREPLICAS|SHUTTING_DOWN|TOO_MANY_REQUESTS)$/;

/** Codes of answers of what is not psyncd, of what is not the master, and of a replica that has not heard of a promotion yet. */
const FOREIGN = /^(BAD_ANSWER|READONLY|UNKNOWN_HISTORY)$/;
const UNAUTHORIZED = 'UNAUTHORIZED';

export type SendOptions = WaitOptions & FullCallOptions;

export class Requester implements Sender {
  /** Position that reads wait for with `readOwnWrites`: after the last write; null: there was none. */
  position: string | null = null;
  readonly #options: FullClientOptions;
  readonly #urls: readonly string[];
  readonly #origins: readonly string[];
  #turn = 0;
  /** URL that answered the last write. */
  #master: string | null = null;

  /** @throws TypeError for a malformed URL or a wrong option */
  constructor(urls: readonly string[], options: FullClientOptions) {
    this.#urls = urls.map((url) => baseOf(url).replace(/^ws/i, 'http'));
    this.#origins = this.#urls.map((url) => new URL(url).origin);
    this.#options = options;
    timesOf(options);
  }

  /**
   * @param read checks and takes the answer
   * @throws ApiError; the signal's reason; DOMException `TimeoutError`; TypeError of `fetch`, or for a wrong option
   */
  async send<T>(call: Call, given: SendOptions = {}, read: Read<T>): Promise<T> {
    const { signal, waitMs = 0 } = given;
    const { retries, timeoutMs } = timesOf({ ...this.#options, ...given });
    // A node may have carried out a part of a write before the token became invalid.
    let mayRenew = typeof this.#options.token === 'function' && (call.isOwn || !call.isSingle);
    for (let failures = 0; ; ) {
      signal?.throwIfAborted();
      const base = this.#baseFor(call);
      let retryAfter: string | null = null;
      const heard: Read<T> = async (response) => {
        retryAfter = response.headers.get('retry-after');
        mustNotBeTls(response);
        return read(response);
      };
      try {
        const act = (over: Signal): Promise<T> => this.#try(base, call, over, heard);
        return await within(Math.min(timeoutMs + waitMs, MAX_LIMIT), base, act, signal);
      } catch (error) {
        if (signal?.aborted) throw error;
        if (mayRenew && (error as Partial<ApiError> | undefined)?.code === UNAUTHORIZED) {
          mayRenew = false;
          continue;
        }
        const verdict = verdictOn(error, call);
        if (verdict === FINAL) throw error;
        this.#leave(base);
        failures += 1;
        const ms = this.#pauseMs(failures, retryAfter);
        const isLast = verdict === ELSEWHERE && base === this.#baseFor(call);
        if (verdict === LEAVE || isLast || failures > retries || ms > MAX_RETRY_MS) throw error;
        await pause(ms, signal);
      }
    }
  }

  #baseFor(call: Call): string {
    return (isWrite(call) && this.#master) || this.#current;
  }

  get #current(): string {
    return this.#urls[this.#turn % this.#urls.length] as string;
  }

  /** The next call begins elsewhere. */
  #leave(base: string): void {
    if (base === this.#current) this.#turn += 1;
    if (base === this.#master) this.#master = null;
  }

  /** @param retryAfter what the node said; it does not delay the first call to another one */
  #pauseMs(failures: number, retryAfter: string | null): number {
    // Half of it is random, so that a thousand programs do not return to a restarted node at the same moment.
    const round = Math.floor(failures / this.#urls.length) - 1;
    const longest = round < 0 ? FIRST_RETRY_MS : Math.min(MAX_RETRY_MS, BASE_RETRY_MS * 2 ** round);
    const ms = Math.round(longest * (1 - Math.random() / 2));
    return round < 0 ? ms : Math.max(ms, (Number(retryAfter) || 0) * 1_000);
  }

  #try<T>(base: string, call: Call, signal: Signal, read: Read<T>): Promise<T> {
    const { method, query = {} } = call;
    // Reads whose node can wait for a position before it answers.
    const waits = this.#options.readOwnWrites && !method && 'position' in query;
    const sent = waits ? { ...call, query: { ...query, position: query.position ?? this.position } } : call;
    const before = this.position;
    return exchange(
      base,
      sent,
      this.#options,
      signal,
      async (response, target, trust) => {
        const result = await read(response);
        if (isWrite(call)) this.#wrote(response, before, target, trust);
        return result;
      },
      this.#origins,
    );
  }

  /** @param before the last position when the write began */
  #wrote({ headers, url }: Response, before: string | null, target: string, trust: Trust): void {
    const position = headers.get('psync-position') as string;
    const last = this.position;
    // Two writes at once may be answered in the other order, also over a promotion: offsets count on. A write that began after another
    // one's answer comes after that: if its position does not, the other one was false, and must not keep the reads waiting for ever.
    if (last === before || !last || isBefore(last, position)) this.position = position;
    if (trust && url.endsWith(target)) this.#master = url.slice(0, -target.length);
  }
}

/** @throws TypeError for what is not a number in its bounds */
function timesOf({ retries = RETRIES, timeoutMs }: FullCallOptions): {
  readonly retries: number;
  readonly timeoutMs: number;
} {
  if (!(retries >= 0)) throw new TypeError(`retries: expected a number from 0 on, got ${retries}`);
  return { retries, timeoutMs: checkedLimit('timeoutMs', timeoutMs, TIMEOUT_MS) };
}

/** Whether the master has to answer. */
function isWrite({ method, isOwn }: Call): boolean {
  return Boolean(method) && !isOwn;
}

const REPEAT = 0;
/** It is repeated, but only at another URL. */
const ELSEWHERE = 1;
/** It is not repeated, but the next call begins elsewhere. */
const LEAVE = 2;
const FINAL = 3;
type Verdict = typeof REPEAT | typeof ELSEWHERE | typeof LEAVE | typeof FINAL;

function verdictOn(error: unknown, { method = 'GET', headers = {}, isSingle }: Call): Verdict {
  const { code = '', status = 0 } = error instanceof ApiError ? error : {};
  const isRefused = REFUSED.test(code);
  // Without an answer, or with one of something between, nobody knows whether the node has carried it out.
  const isUnknown = status === 0 || (status > 501 && status < 505);
  if (!isRefused && !isUnknown && !FOREIGN.test(code)) return code === UNAUTHORIZED ? LEAVE : FINAL;
  const isOnce = /POST|PATCH|if-/.test(`${method} ${Object.keys(headers)}`);
  if (isSingle || (isOnce && !isRefused)) return LEAVE;
  return isUnknown || isRefused ? REPEAT : ELSEWHERE;
}

/** @throws ApiError if a node with TLS has been asked without: it answers "this is an https port", and others 400 say more */
function mustNotBeTls({ headers, status, url }: Response): void {
  if (!url.startsWith('http:') || status !== 400 || headers.get('content-length') !== '22') return;
  const detail = `${url} is a port with TLS: its URL begins with https://`;
  throw new ApiError(status, { detail });
}
