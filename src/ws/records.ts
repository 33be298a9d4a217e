/** Notes WebSockets in the access log and for `/metrics`. */
import type { IncomingMessage } from 'node:http';
import type { WebSocket } from 'ws';
import type { AccessLog } from '../web/access-log.ts';
import type { RequestCounts } from '../web/record/request-counts.ts';

export interface Records {
  /** null: there is none. */
  readonly accessLog: AccessLog | null;
  readonly counts: Pick<RequestCounts, 'upgrade'>;
}

/** @param authorization the `Authorization` header, or what stands for it */
export function noteRefusal(
  { accessLog, counts }: Records,
  request: IncomingMessage,
  path: string,
  status: number,
  authorization: string | undefined,
): void {
  accessLog?.refused(request, path, status, authorization);
  counts.upgrade(request.method, path, status);
}

/** Notes the end of the WebSocket too. @param authorization as of `noteRefusal` */
export function noteOpened(
  { accessLog, counts }: Records,
  request: IncomingMessage,
  path: string,
  webSocket: WebSocket,
  authorization: string | undefined,
): void {
  counts.upgrade(request.method, path);
  const ended = accessLog?.opened(request, path, authorization);
  if (ended !== undefined) webSocket.once('close', ended);
}
