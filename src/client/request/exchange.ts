/** One request of a `Client` and its answer. */

import type { ByteStream } from '../platform.ts';
import type { CallOptions, ClientOptions } from './options.ts';
import { MASTER, sent, type Trust } from './redirect.ts';
import { sendable } from './sendable.ts';
import { tokenOf } from './token.ts';

export interface Call {
  /** Default: GET. */
  readonly method?: string;
  /** Begins with a slash, and is percent-encoded. */
  readonly path: string;
  /** Members that are null or undefined are left out. */
  readonly query?: Readonly<Record<string, unknown>> | undefined;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: Uint8Array | string | ByteStream;
  /** Of a body that is a stream. */
  readonly duplex?: 'half';
  /** The call is not redirected: its body is a stream, which cannot be sent twice, or it changes the node itself. */
  readonly redirect?: 'error';
  /** Whether the client sends it once, whatever happens. */
  readonly isSingle?: boolean;
  /** Whether it concerns the node itself; every other call with a method is a write, which the master answers. */
  readonly isOwn?: boolean;
}

/** Checks and takes an answer. */
export type Read<T> = (response: Response) => Promise<T>;

/** Sends the requests of a client to its node, or to one of its nodes. */
export interface Sender {
  /** @throws ApiError; the signal's reason; what `fetch` throws */
  send<T>(call: Call, options: CallOptions | undefined, read: Read<T>): Promise<T>;
}

/**
 * Sends one request.
 * @param base URL of the node, without a slash at its end
 * @param named origins that the application has named
 * @throws what the token function, `fetch` and `read` throw; TypeError for text that cannot be sent
 */
export async function exchange<T>(
  base: string,
  { path, query = {}, ...init }: Call,
  { headers, token: shown, transport }: ClientOptions,
  signal: CallOptions['signal'],
  read: (response: Response, target: string, trust: Trust) => Promise<T>,
  named: readonly string[] = [new URL(base).origin],
): Promise<T> {
  const given = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) {
    if (value !== null && value !== undefined) given.set(name, sendable(String(value)));
  }
  const target = path + (given.size ? `?${given}` : '');
  const token = await tokenOf(shown);
  // In small letters, as the names below: of a name that is spelled in two ways `fetch` sends both values.
  const own = Object.fromEntries(new Headers(await headers?.()));
  return sent(
    (transport ?? globalThis).fetch,
    base,
    target,
    named,
    (present) =>
      ({
        ...init,
        headers: {
          ...(present > MASTER && own),
          ...init.headers,
          ...(token && present && { authorization: `Bearer ${token}` }),
        },
        signal,
      }) as RequestInit,
    read,
  );
}
