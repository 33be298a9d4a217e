/**
 * The limit for `followers`, in a process of its own: plain `ws`, with one `send` of the same bytes to each client. The
 * parent says for how long.
 */
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { WebSocketServer } from 'ws';

/** A message as long as psyncd's message about one small write. */
const MESSAGE = Buffer.alloc(275, 'x');
/** A client with more unsent bytes is skipped until it has read them. */
const HIGH_WATER_BYTES = 256 * 1024;

const server = createServer();
const webSockets = new WebSocketServer({ server, perMessageDeflate: false });

function send(until: number): void {
  if (performance.now() >= until) return;
  for (const client of webSockets.clients) {
    if (client.bufferedAmount < HIGH_WATER_BYTES) client.send(MESSAGE, { binary: false });
  }
  setImmediate(() => send(until));
}

process.on('message', ({ seconds }: { seconds: number }) => send(performance.now() + seconds * 1000));
server.listen(0, '127.0.0.1', () => {
  process.stdout.write(`listening on http://127.0.0.1:${(server.address() as AddressInfo).port}\n`);
});
// The channel closes when the parent process ends.
process.once('disconnect', () => process.exit(0));
