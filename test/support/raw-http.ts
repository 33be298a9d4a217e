/** HTTP as bytes: what a client sends that no library would send. */
import assert from 'node:assert/strict';
import { connect, type Socket } from 'node:net';

export interface RawAnswer {
  readonly status: number;
  /** In small letters. */
  readonly headers: ReadonlyMap<string, string>;
  readonly body: string;
}

/** @returns the bytes of a request with a `Host` and, if there is a body, its length */
export function rawRequest(method: string, target: string, body = '', ...headers: readonly string[]): string {
  const lines = ['Host: localhost', ...(body === '' ? [] : [`Content-Length: ${body.length}`]), ...headers];
  return `${method} ${target} HTTP/1.1\r\n${lines.join('\r\n')}\r\n\r\n${body}`;
}

/**
 * Sends the pieces, each for itself, and closes this side at once unless told otherwise.
 * @returns all answers until the node closes the connection
 */
export async function exchanged(
  { port, host = '127.0.0.1' }: { readonly port: number; readonly host?: string },
  pieces: readonly string[],
  { halfClose = true, send = defaultSend }: { halfClose?: boolean; send?: typeof defaultSend } = {},
): Promise<readonly RawAnswer[]> {
  const socket = connect({ host, port, allowHalfOpen: true, noDelay: true });
  await send(socket, pieces);
  if (halfClose) socket.end();
  let text = '';
  for await (const chunk of socket.setEncoding('latin1')) text += chunk;
  socket.destroy();
  return answersIn(text);
}

async function defaultSend(socket: Socket, pieces: readonly string[]): Promise<void> {
  for (const piece of pieces) {
    await new Promise((resolve) => socket.write(piece, 'latin1', resolve));
    await new Promise(setImmediate);
  }
}

/** @throws AssertionError for what is no whole answer to a request other than HEAD */
export function answersIn(text: string): readonly RawAnswer[] {
  const answers: RawAnswer[] = [];
  for (let at = 0; at < text.length; ) {
    const end = text.indexOf('\r\n\r\n', at);
    assert.notEqual(end, -1, `no whole answer: ${JSON.stringify(text.slice(at, at + 200))}`);
    const [first = '', ...lines] = text.slice(at, end).split('\r\n');
    const status = Number(/^HTTP\/1\.1 (\d{3}) /.exec(first)?.[1]);
    assert.ok(status > 0, `no status line: ${JSON.stringify(first)}`);
    const headers = new Map(
      lines.map((line) => [
        line.slice(0, line.indexOf(':')).toLowerCase(),
        line.slice(line.indexOf(':') + 2),
      ]),
    );
    const length = Number(headers.get('content-length') ?? 0);
    const body = text.slice(end + 4, end + 4 + length);
    assert.equal(body.length, length, `half an answer: ${JSON.stringify(text.slice(at, at + 300))}`);
    answers.push({ status, headers, body });
    at = end + 4 + length;
  }
  return answers;
}
