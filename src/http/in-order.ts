/**
 * Requests that a client sends without waiting for the answers before them, on one connection (RFC 9112, 9.3.2). Node hands them
 * all over at once and only sends the answers in order. Small PUTs are decided in the order in which they come; but they may pass
 * a large write. So behind whatever may be one the next request waits until that is answered.
 */
import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';

/** A PUT of no more is never a large write. */
const SMALL_BYTES = 16 * 1024;
/** When so many of a connection wait, no more are read from it. */
const MAX_WAITING = 100;

interface Line {
  /** To the last request behind which everything waits. */
  barrier: ServerResponse;
  waiting: number;
}

/** @param handle given each request when its turn has come */
export function inOrder(handle: RequestListener): RequestListener {
  const lines = new WeakMap<Socket, Line>();
  return (request, response) => {
    const { socket } = request;
    const line = lines.get(socket);
    if (line !== undefined && !line.barrier.writableEnded) {
      const turn = after(line, socket, () => handle(request, response));
      line.barrier.once('close', turn);
      line.barrier = response;
      return;
    }
    if (mayBeLarge(request)) lines.set(socket, { barrier: response, waiting: 0 });
    handle(request, response);
  };
}

function mayBeLarge({ method, headers }: IncomingMessage): boolean {
  if (method === 'GET' || method === 'HEAD') return false;
  return method !== 'PUT' || Number(headers['content-length'] ?? Number.POSITIVE_INFINITY) > SMALL_BYTES;
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
