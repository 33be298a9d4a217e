/** What scrapes cost the machine whoever answers them, in a process of its own: a server of Node's that sends a text as long as that of metrics. */
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';

const TEXT = Buffer.alloc(19_400, 'psyncd_role{role="master"} 1\n');

const server = createServer((_request, response) => {
  response.writeHead(200, { 'content-type': 'text/plain; version=0.0.4', 'content-length': TEXT.length });
  response.end(TEXT);
});
server.listen(0, '127.0.0.1', () => {
  process.stdout.write(`listening on http://127.0.0.1:${(server.address() as AddressInfo).port}\n`);
});
// The channel closes when the parent process ends.
process.once('disconnect', () => process.exit(0));
