/** A bare HTTP server, in a process of its own, that answers each request with a text as long as psyncd's metrics. */
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';

const TEXT = Buffer.alloc(20_000, 'psyncd_commands_total{cluster="shop"} 1234567\n');

const server = createServer((_request, response) => {
  response.writeHead(200, { 'content-type': 'text/plain', 'content-length': TEXT.length });
  response.end(TEXT);
});
server.listen({ host: '127.0.0.1', port: 0 }, () => {
  process.stdout.write(`listening on http://127.0.0.1:${(server.address() as AddressInfo).port}\n`);
});
// The channel closes when the parent process ends.
process.once('disconnect', () => process.exit(0));
