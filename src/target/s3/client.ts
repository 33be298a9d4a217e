/**
 * Signed requests to one bucket. What may succeed later is asked again, with growing pauses and a bound. A redirect is never
 * followed: the signature is for this host only.
 */
import { Readable } from 'node:stream';
import { setTimeout as pause } from 'node:timers/promises';
import { AwsV4Signer } from 'aws4fetch';
import { Agent, type Dispatcher } from 'undici';
import { TargetError } from '../../node/ports/backup-target.ts';
import { messageOf } from '../../node/ports/failures.ts';
import type { Place } from './place.ts';
import { refused, wordsOf } from './refusals.ts';

/** Times that one request is made. */
const MAX_TRIES = 6;
/** Longest pause between two tries, in milliseconds. */
const MAX_PAUSE_MS = 20_000;
/** Longest answer that is read whole, in bytes: a page of a list, which is 250 objects whose keys are 3 KiB when they are encoded. */
const MAX_TEXT_BYTES = 1024 * 1024;
/** Longest rest of an answer that is read for the sake of the connection, in bytes. */
const MAX_REST_BYTES = 16 * 1024;
/** Time for a connection, in milliseconds. */
const CONNECT_MS = 10_000;
const EMPTY_SHA256 = 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855';

/** How long the target is waited for, in milliseconds. */
export interface Patience {
  /** Pause after the first try; it doubles. */
  readonly pauseMs: number;
  /** Time in which the socket neither takes nor gives a byte. The system may have taken some megabytes that a slow network lacks. */
  readonly stallMs: number;
  /** Time for a whole request, however slowly its bytes flow. */
  readonly requestMs: number;
}

export const PATIENCE: Patience = { pauseMs: 250, stallMs: 120_000, requestMs: 30 * 60_000 };

/** What is sent. */
export interface Body {
  readonly length: number;
  /** 64 hex digits. */
  readonly sha256: string;
  /** The bytes, anew for each try. @throws TargetError if they cannot be read */
  parts(): AsyncIterable<Uint8Array> | Iterable<Uint8Array>;
}

export interface Asked {
  readonly method: 'GET' | 'PUT' | 'POST' | 'DELETE';
  /** With the prefix; '': the bucket itself. */
  readonly key: string;
  readonly query?: Readonly<Record<string, string>>;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: Body;
  readonly signal?: AbortSignal | undefined;
}

/** A success. */
export interface Answer {
  readonly status: number;
  /** @returns '': there is no such header */
  header(name: string): string;
  readonly body: AsyncIterable<Uint8Array>;
  /** Reads the body, which must be short. @throws TargetError TARGET_ANSWER if it is longer than `MAX_TEXT_BYTES` */
  text(): Promise<string>;
}

export class S3Client {
  readonly place: Place;
  readonly #patience: Patience;
  readonly #agent: Agent;

  constructor(place: Place, patience: Patience) {
    this.place = place;
    this.#patience = patience;
    const { stallMs } = patience;
    this.#agent = new Agent({
      headersTimeout: stallMs,
      bodyTimeout: stallMs,
      connect: { timeout: Math.min(CONNECT_MS, stallMs), rejectUnauthorized: true },
    });
  }

  /**
   * Makes the request until it succeeds, as long as a later try may succeed.
   * @param read gets each success; what it throws counts as that of the request
   * @param tried is told of each try
   * @throws TargetError, or the signal's reason
   */
  ask<T>(asked: Asked, read: (answer: Answer) => Promise<T>, tried?: () => void): Promise<T> {
    return this.tried(asked.signal, () => {
      tried?.();
      return this.once(asked, read);
    });
  }

  /** Does the work, and does it anew after a failure that may go by. @param progressed whether it came further since it was last asked */
  async tried<T>(
    signal: AbortSignal | undefined,
    work: () => Promise<T>,
    progressed: () => boolean = () => false,
  ): Promise<T> {
    for (let tries = 1; ; tries += 1) {
      signal?.throwIfAborted();
      try {
        return await work();
      } catch (error) {
        signal?.throwIfAborted();
        if (progressed()) tries = 1;
        if (!mayGoBy(error) || tries >= MAX_TRIES) throw error;
        // Callers that were refused together do not come back together.
        const wanted = this.#patience.pauseMs * 2 ** (tries - 1) * (0.5 + Math.random());
        await pause(Math.min(wanted, MAX_PAUSE_MS), undefined, signal && { signal }).catch(() => undefined);
      }
    }
  }

  /** Makes the request once. @see ask */
  async once<T>(asked: Asked, read: (answer: Answer) => Promise<T>): Promise<T> {
    const { shown } = this.place;
    const ending = new AbortController();
    const late = ending.signal;
    const timer = setTimeout(() => ending.abort(), this.#patience.requestMs);
    const signal = asked.signal === undefined ? late : AbortSignal.any([asked.signal, late]);
    const failed = (error: unknown): unknown => {
      if (asked.signal?.aborted) return asked.signal.reason;
      if (error instanceof TargetError) return error;
      const why = late.aborted ? 'the request has taken too long' : wordsOf(whyOf(error), this.place.keys);
      return new TargetError('TARGET_UNREACHABLE', `${shown} cannot be reached: ${why}`, error);
    };
    let body: Dispatcher.ResponseData['body'] | null = null;
    try {
      const { sentAt, options } = await this.#signed(asked);
      const response = await this.#agent.request({ ...options, signal }).catch((error: unknown) => {
        throw failed(error);
      });
      body = response.body;
      const answer = answerOf(shown, response, failed);
      const status = response.statusCode;
      if (status === 200 || status === 204 || status === 206) {
        const result = await read(answer);
        // A connection whose answer was read to its end serves the next request.
        await body.dump({ limit: MAX_REST_BYTES, signal }).catch(() => undefined);
        return result;
      }
      // What the server says is a help for people; that it is cut is no other failure.
      const text = await answer.text().catch(() => '');
      asked.signal?.throwIfAborted();
      throw refused(this.place, { status, date: answer.header('date') || null, text }, sentAt);
    } finally {
      clearTimeout(timer);
      body?.on('error', () => undefined).destroy();
    }
  }

  /** Signs the request with the present time. */
  async #signed({ method, key, query, headers, body }: Asked): Promise<{
    readonly sentAt: string;
    readonly options: Dispatcher.RequestOptions & { origin: string };
  }> {
    const { endpoint, bucket, region, keys } = this.place;
    const path = [bucket, ...(key === '' ? [] : key.split('/'))].map(encodeURIComponent).join('/');
    const pairs = Object.entries(query ?? {}).map((pair) => pair.map(encodeURIComponent).join('='));
    const signer = new AwsV4Signer({
      method,
      url: `${endpoint}/${path}${pairs.length === 0 ? '' : `?${pairs.join('&')}`}`,
      headers: { ...headers, 'x-amz-content-sha256': body?.sha256 ?? EMPTY_SHA256 },
      accessKeyId: keys.accessKeyId,
      secretAccessKey: keys.secretAccessKey,
      ...(keys.sessionToken !== null && { sessionToken: keys.sessionToken }),
      service: 's3',
      region,
    });
    const signed = await signer.sign();
    const length = body?.length ?? (method === 'PUT' || method === 'POST' ? 0 : null);
    return {
      sentAt: signer.datetime,
      options: {
        origin: endpoint,
        path: signed.url.pathname + signed.url.search,
        method,
        headers: {
          ...Object.fromEntries(signed.headers),
          ...(length !== null && { 'content-length': String(length) }),
        },
        body: body === undefined || body.length === 0 ? null : Readable.from(body.parts()),
      },
    };
  }
}

/** Whether a later try may succeed. */
function mayGoBy(error: unknown): boolean {
  return (
    error instanceof TargetError && (error.code === 'TARGET_BUSY' || error.code === 'TARGET_UNREACHABLE')
  );
}

/** @param failed turns an error of the connection into that of the request */
function answerOf(
  shown: string,
  { statusCode, headers, body }: Dispatcher.ResponseData,
  failed: (error: unknown) => unknown,
): Answer {
  const header = (name: string): string => {
    const value = headers[name];
    return typeof value === 'string' ? value : '';
  };
  const parts = (): AsyncIterable<Uint8Array> => withErrors(body, failed);
  const text = async (): Promise<string> => {
    const read: Uint8Array[] = [];
    let length = 0;
    for await (const part of parts()) {
      length += part.length;
      if (length > MAX_TEXT_BYTES) {
        throw new TargetError('TARGET_ANSWER', `${shown} answers with more than ${MAX_TEXT_BYTES} bytes`);
      }
      read.push(part);
    }
    return Buffer.concat(read).toString('utf8');
  };
  return { status: statusCode, header, body: parts(), text };
}

async function* withErrors(
  body: AsyncIterable<Uint8Array>,
  failed: (error: unknown) => unknown,
): AsyncGenerator<Uint8Array> {
  const parts = body[Symbol.asyncIterator]();
  for (;;) {
    const next = await parts.next().catch((error: unknown) => {
      throw failed(error);
    });
    if (next.done) return;
    yield next.value;
  }
}

/** The error of several addresses has no message of its own. */
function whyOf(error: unknown): string {
  const cause = error instanceof AggregateError ? error.errors[0] : error;
  return messageOf(cause) || String((cause as { code?: unknown } | undefined)?.code ?? 'unknown');
}
