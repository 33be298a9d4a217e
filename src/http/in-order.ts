/**
 * Requests that a client sends without waiting for the answers before them, on one connection (RFC 9112, 9.3.2). Node hands them
 * all over at once and only sends the answers in order. Small PUTs are decided in the order in which they come, and may share a
 * turn. But a read does not wait for a turn, and small writes may pass a large one: so a read waits until the writes before it
 * are answered, and whatever comes behind a request that waits, or may be a large write, waits for that.
 */
import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';

/** A PUT of less is never a large write. */
const SMALL_BYTES = 16 * 1024;
/** When so many of a connection wait, no more are read from it. */
const MAX_WAITING = 100;

interface Line {
  /** To the last write; the response of its request, as the other one is. */
  write: ServerResponse | null;
  /** To the last one for which everything behind it waits. */
  barrier: ServerResponse | null;
  waiting: number;
}

/** @param handle given each request when its turn has come */
export function inOrder(handle: RequestListener): RequestListener {
  const lines = new WeakMap<Socket, Line>();
  return (request, response) => {
    const isRead = request.method === 'GET' || request.method === 'HEAD';
    let line = lines.get(request.socket);
    if (line === undefined) {
      if (isRead) return handle(request, response);
      line = { write: null, barrier: null, waiting: 0 };
      lines.set(request.socket, line);
    }
    const before = unanswered(line.barrier) ?? (isRead ? unanswered(line.write) : null);
    if (!isRead) line.write = response;
    if (before !== null || mayBeLarge(request)) line.barrier = response;
    if (before === null) handle(request, response);
    else
      before.once(
        'close',
        after(line, request.socket, () => handle(request, response)),
      );
  };
}

function unanswered(response: ServerResponse | null): ServerResponse | null {
  return response === null || response.writableEnded ? null : response;
}

function mayBeLarge({ method, headers }: IncomingMessage): boolean {
  if (method === 'GET' || method === 'HEAD') return false;
  return method !== 'PUT' || !(Number(headers['content-length']) <= SMALL_BYTES);
}

function after(line: Line, socket: Socket, handle: () => void): () => void {
  line.waiting += 1;
  if (line.waiting === MAX_WAITING) socket.pause();
  return () => {
    line.waiting -= 1;
    if (socket.destroyed) return;
    if (line.waiting === 0) socket.resume();
    handle();
  };
}
