/** Opens WebSockets to masters. */
import { WebSocket } from 'ws';
import type { Dial } from '../node/ports.ts';
import { MAX_MESSAGE_BYTES, Socket, STREAM_PATH, SUBPROTOCOL } from './socket.ts';

/** @param handshakeTimeoutMs asked at each dial: how long connecting and the upgrade may take */
export function dialer(handshakeTimeoutMs: () => number): Dial {
  return (url, events) => {
    const ws = new WebSocket(new URL(STREAM_PATH, url), SUBPROTOCOL, {
      handshakeTimeout: handshakeTimeoutMs(),
      maxPayload: MAX_MESSAGE_BYTES,
      perMessageDeflate: false,
      followRedirects: false,
    });
    const socket = new Socket(ws, url);
    ws.on('open', () => events.opened());
    socket.listen(events);
    return socket;
  };
}
