/** A node's feed that says what the test tells it to, over a real WebSocket, and what it was asked for. */
import { once } from 'node:events';
import { createServer, type RequestListener } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import type { TestContext } from 'node:test';
import { type WebSocket, WebSocketServer } from 'ws';

export type Step =
  /** An event, or text that is sent as it is. */
  | object
  | string
  /** Closes with this code. */
  | number
  /** The connection breaks, without a close frame. */
  | 'CUT'
  /** The node takes nothing any more, not even the end of the connection. */
  | 'HALF-OPEN';

export interface ScriptedFeed {
  readonly url: string;
  /** The query of each connection that came. */
  readonly requests: URLSearchParams[];
  /** The connections that are open now. */
  readonly sockets: ReadonlySet<WebSocket>;
  send(...steps: readonly Step[]): void;
}

/** Run ID of the scripted node in its answers to requests, and the position in their header. */
const RUN_ID = 'b'.repeat(40);
const POSITION = `${RUN_ID}:0`;

/**
 * @param script what to say to the connection of this number, counted from 0; after the last step it stays open
 * @param lineage what `GET /v1/replication` says, or how it is answered
 * @param base a path before that of the feed
 */
export async function scriptedFeed(
  t: TestContext,
  script: (index: number, query: URLSearchParams) => readonly Step[],
  lineage: readonly { readonly runId: string; readonly validTo: number }[] | RequestListener = [],
  base = '',
): Promise<ScriptedFeed> {
  const answer: RequestListener = (_request, response) => {
    response.setHeader('content-type', 'application/json');
    response.setHeader('psync-position', POSITION);
    response.end(JSON.stringify({ runId: RUN_ID, lineage }));
  };
  const http = createServer(typeof lineage === 'function' ? lineage : answer).listen(0, '127.0.0.1');
  await once(http, 'listening');
  const server = new WebSocketServer({
    server: http,
    path: `${base}/v1/changes`,
    handleProtocols: (offered) => (offered.has('psync.v1.json') ? 'psync.v1.json' : false),
  });
  const requests: URLSearchParams[] = [];
  const connections = new WeakMap<WebSocket, Socket>();
  const play = (socket: WebSocket, steps: readonly Step[]): void => {
    for (const step of steps) {
      // What was said before still arrives, or it would not be the script that is played.
      if (step === 'CUT') connections.get(socket)?.destroySoon();
      else if (step === 'HALF-OPEN') socket.pause();
      else if (typeof step === 'number') socket.close(step);
      else socket.send(typeof step === 'string' ? step : JSON.stringify(step));
    }
  };
  server.on('connection', (socket, request) => {
    socket.on('error', () => undefined);
    // A follower says nothing.
    socket.on('message', () => socket.close(4400));
    const query = new URL(request.url ?? '', 'http://node').searchParams;
    requests.push(query);
    connections.set(socket, request.socket);
    play(socket, script(requests.length - 1, query));
  });
  t.after(() => {
    for (const socket of server.clients) socket.terminate();
    server.close();
    http.close();
    http.closeAllConnections();
  });
  return {
    url: `http://127.0.0.1:${(http.address() as AddressInfo).port}`,
    requests,
    sockets: server.clients,
    send: (...steps) => {
      for (const socket of server.clients) play(socket, steps);
    },
  };
}

/** Waits until the node has no connection. */
export async function emptied(feed: ScriptedFeed): Promise<void> {
  for (const socket of feed.sockets) if (socket.readyState !== socket.CLOSED) await once(socket, 'close');
}
