/** Opens WebSockets to masters. */
import type { IncomingMessage } from 'node:http';
import { WebSocket } from 'ws';
import type { Dial } from '../node/ports.ts';
import { MAX_MESSAGE_BYTES, PIECES, Socket, STREAM_PATH, SUBPROTOCOL } from './socket.ts';

/** So much of an answer that refuses the WebSocket is read, in bytes: a problem of psyncd's has a few hundred. */
const MAX_REFUSAL_BYTES = 4 * 1024;
/** So many characters of what it says are shown. */
const MAX_DETAIL_LENGTH = 300;
/** The answer that refuses the WebSocket must be whole after so long, in milliseconds. */
const REFUSAL_TIMEOUT_MS = 1_000;

/** @param handshakeTimeoutMs asked at each dial: how long connecting and the upgrade may take */
export function dialer(handshakeTimeoutMs: () => number): Dial {
  return (url, events) => {
    const ws = new WebSocket(new URL(STREAM_PATH, url), SUBPROTOCOL, {
      handshakeTimeout: handshakeTimeoutMs(),
      maxPayload: MAX_MESSAGE_BYTES,
      ...PIECES,
      perMessageDeflate: false,
      followRedirects: false,
    });
    const socket = new Socket(ws, url);
    let refusal: string | null = null;
    ws.on('open', () => events.opened());
    ws.on('unexpected-response', (_request, response) => {
      const status = `the answer is ${response.statusCode}`;
      refusal = status;
      const told = detailOf(response).then((detail) => {
        if (detail !== null) refusal = `${status}: ${detail}`;
      });
      told.catch(() => undefined).finally(() => ws.terminate());
    });
    socket.listen({
      ...events,
      closed: (code, reason) => events.closed(code, refusal ?? reason),
    });
    return socket;
  };
}

/** What the problem says that the WebSocket was refused with; null if it is none. */
async function detailOf(response: IncomingMessage): Promise<string | null> {
  const timer = setTimeout(() => response.destroy(), REFUSAL_TIMEOUT_MS);
  try {
    let text = '';
    for await (const chunk of response.setEncoding('utf8')) {
      text += chunk;
      if (text.length > MAX_REFUSAL_BYTES) return null;
    }
    const problem: unknown = JSON.parse(text);
    const isProblem = typeof problem === 'object' && problem !== null && 'detail' in problem;
    return isProblem && typeof problem.detail === 'string' ? oneLine(problem.detail) : null;
  } catch {
    return null;
  } finally {
    clearTimeout(timer);
  }
}

/** The other side may be anybody: its text must not look like more than one line of ours. */
function oneLine(text: string): string {
  return text.replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, ' ').slice(0, MAX_DETAIL_LENGTH);
}
