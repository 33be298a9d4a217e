/** Preloaded into a node: its start goes no further than to its first port, and says so on standard error. */
import { Server } from 'node:net';

Server.prototype.listen = function held(this: Server): Server {
  process.stderr.write('held\n');
  // Keeps the process running.
  setInterval(() => undefined, 1_000);
  return this;
};
