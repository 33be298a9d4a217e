/** Bounds what a command reads of an answer, which may come from something that is no node and never ends. */
import type { Transport } from '../../client/request/token.ts';
import { MAX_VALUE_BYTES } from '../../stream/command.ts';
import { CommandError } from '../command-error.ts';

/** Largest answer that a command takes whole, in bytes. The largest of a node, a page of keys, has about 6 MiB. */
export const MAX_ANSWER_BYTES = 64 * 1024 * 1024;
/** Types of what a command passes on as it comes: entries of an export, and snapshots. */
const STREAMED = ['application/x-ndjson', 'application/vnd.sqlite3'];
/** Type of a value. */
const VALUE_TYPE = 'application/octet-stream';

/** @returns the transport with a `fetch` whose answers are bounded: reading on throws CommandError */
export function withBoundedAnswers(transport: Transport = globalThis): Transport {
  return {
    fetch: async (input, init) => bounded(await transport.fetch(input, init)),
    get WebSocket() {
      return transport.WebSocket;
    },
  };
}

async function bounded(response: Response): Promise<Response> {
  const { body, headers, status, url } = response;
  const type = headers.get('content-type')?.toLowerCase().split(/[;\s]/)[0] ?? '';
  if (body === null || STREAMED.includes(type)) return response;
  if (status < 200 || status > 599) {
    await body.cancel();
    throw new CommandError(`the node does not answer like psyncd: HTTP status ${status}`);
  }
  const most = response.ok && type === VALUE_TYPE ? MAX_VALUE_BYTES : MAX_ANSWER_BYTES;
  let length = 0;
  const counting = new TransformStream<Uint8Array<ArrayBuffer>, Uint8Array<ArrayBuffer>>({
    transform(chunk, controller) {
      length += chunk.length;
      if (length > most) throw new CommandError(`the answer of the node has more than ${most} bytes`);
      controller.enqueue(chunk);
    },
  });
  const copy = new Response(body.pipeThrough(counting), { status, headers: [...headers] });
  // Messages name where the answer came from.
  return Object.defineProperty(copy, 'url', { value: url });
}
