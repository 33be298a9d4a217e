/** Notes WebSockets in the access log, in the log at level `debug`, and for `/metrics`. */
import type { IncomingMessage } from 'node:http';
import type { WebSocket } from 'ws';
import type { Log } from '../node/ports/world.ts';
import type { AccessLog } from '../web/access-log.ts';
import type { RequestCounts } from '../web/record/request-counts.ts';
import { traceOf } from '../web/record/traceparent.ts';

export interface Records {
  /** null: there is none. */
  readonly accessLog: AccessLog | null;
  readonly counts: Pick<RequestCounts, 'upgrade'>;
  readonly log: Pick<Log, 'debug' | 'error'>;
}

/** @param authorization the `Authorization` header, or what stands for it */
export function noteRefusal(
  { accessLog, counts, log }: Records,
  request: IncomingMessage,
  path: string,
  status: number,
  authorization: string | undefined,
): void {
  accessLog?.refused(request, path, status, authorization);
  counts.upgrade(request.method, path, status);
  log.debug('request', { method: request.method, path, status, ...traceOf(request) });
}

/** Notes the end of the WebSocket too. @param authorization as of `noteRefusal` */
export function noteOpened(
  { accessLog, counts, log }: Records,
  request: IncomingMessage,
  path: string,
  webSocket: WebSocket,
  authorization: string | undefined,
): void {
  counts.upgrade(request.method, path);
  log.debug('websocket-opened', { method: request.method, path, status: 101, ...traceOf(request) });
  const ended = accessLog?.opened(request, path, authorization);
  if (ended !== undefined) webSocket.once('close', ended);
}
