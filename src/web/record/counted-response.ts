/** Node's answer, counting the bytes of its body for the access log. */
import type { IncomingMessage, ServerResponse } from 'node:http';

const Base = process.getBuiltinModule('node:http').ServerResponse;

type Chunk = string | Uint8Array;

/** Nodes without an access log do without it. */
export class CountedResponse extends Base<IncomingMessage> {
  /** Bytes of the body that were written so far; they need not have arrived. */
  bodyBytes = 0;

  // biome-ignore lint/suspicious/noExplicitAny: Node's own overloads
  override write(chunk: any, ...rest: any[]): boolean {
    this.#count(chunk, rest[0]);
    return super.write(chunk, ...(rest as [BufferEncoding]));
  }

  // biome-ignore lint/suspicious/noExplicitAny: Node's own overloads
  override end(...args: any[]): this {
    this.#count(args[0], args[1]);
    return super.end(...(args as [Chunk, BufferEncoding]));
  }

  #count(chunk: unknown, encoding: unknown): void {
    if (this.req.method === 'HEAD') return;
    if (typeof chunk === 'string') {
      this.bodyBytes +=
        encoding === 'latin1' ? chunk.length : Buffer.byteLength(chunk, encoding as BufferEncoding);
    } else if (chunk instanceof Uint8Array) this.bodyBytes += chunk.length;
  }
}

/** The class as `createServer` takes it. */
export const COUNTED = CountedResponse as unknown as typeof ServerResponse;
