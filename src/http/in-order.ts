/**
 * Requests that a client sends without waiting for the answers before them, on one connection: behind a request that may change
 * something the next one waits until that is answered (RFC 9112, 9.3.2). Node hands them all over at once and only sends
 * the answers in order; and of what comes at once small writes are decided before large ones.
 */
import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';

/** When so many of a connection wait, no more are read from it. */
const MAX_WAITING = 100;

interface Line {
  /** To the last request that may change something. */
  last: ServerResponse;
  /** How many wait behind it or an earlier one. */
  waiting: number;
}

/** @param handle given each request when its turn has come */
export function inOrder(handle: RequestListener): RequestListener {
  const lines = new WeakMap<Socket, Line>();
  return (request, response) => {
    const line = lines.get(request.socket);
    const changes = request.method !== 'GET' && request.method !== 'HEAD';
    const before = line?.last;
    if (changes) {
      if (line === undefined) lines.set(request.socket, { last: response, waiting: 0 });
      else line.last = response;
    }
    if (line === undefined || before === undefined || before.writableEnded) handle(request, response);
    else
      before.once(
        'close',
        after(line, request, () => handle(request, response)),
      );
  };
}

function after(line: Line, { socket }: IncomingMessage, handle: () => void): () => void {
  line.waiting += 1;
  if (line.waiting === MAX_WAITING) socket.pause();
  return () => {
    line.waiting -= 1;
    if (socket.destroyed) return;
    if (line.waiting === 0) socket.resume();
    handle();
  };
}
