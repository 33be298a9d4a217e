/** WebSockets, HTTP answers and fake connections of followers keep the same promises. */
import { once } from 'node:events';
import { createServer, get, type IncomingMessage, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { TestContext } from 'node:test';
import { WebSocket } from 'ws';
import { until } from '../../src/cli/until.ts';
import { ResponseFollower } from '../../src/http/routes/keys/changes-route.ts';
import type { FeedRequest } from '../../src/node/feed/feed-request.ts';
import { Tally } from '../../src/node/ports/counts.ts';
import type { FollowerSocket } from '../../src/node/ports/follower-socket.ts';
import { RequestCounts } from '../../src/web/record/request-counts.ts';
import { acceptWebSockets, CHANGES_PATH, FOLLOWER_SUBPROTOCOL } from '../../src/ws/accept.ts';
import { Connection } from '../simulation/follower-connection.ts';
import { NO_SETTINGS, openAccess } from '../support/open-access.ts';
import { SILENT } from '../support/silent-log.ts';
import { describeFollowerSocket, type Followed, Told } from './follower-socket.ts';
import { simulated } from './simulated.ts';

describeFollowerSocket('a WebSocket', async (t) => {
  const told = new Told();
  let socket: FollowerSocket | null = null;
  const server = createServer();
  server.on(
    'upgrade',
    acceptWebSockets({
      access: openAccess(),
      admission: NO_SETTINGS,
      limits: { refused: new Tally(), requests: null, followers: null },
      counts: new RequestCounts(),
      log: SILENT,
      accessLog: null,
      headers: () => ({}),
      accept: () => {
        throw new Error('nobody replicates');
      },
      admitFollower: (query) => Promise.resolve(query as FeedRequest),
      serveFollower: (_request, follower) => {
        socket = follower;
        return told;
      },
    }),
  );
  const port = await listening(t, server);
  const client = new WebSocket(`ws://127.0.0.1:${port}${CHANGES_PATH}`, FOLLOWER_SUBPROTOCOL);
  const received: string[] = [];
  client.on('message', (data) => received.push(String(data)));
  client.on('error', () => undefined);
  const leave = (): void => client.terminate();
  const served = await until('the follower is served', () => socket);
  return {
    socket: served,
    told,
    received,
    pause: () => client.pause(),
    resume: () => client.resume(),
    leave,
  };
});

describeFollowerSocket('an HTTP answer', async (t) => {
  const told = new Told();
  let socket: FollowerSocket | null = null;
  const server = createServer((_request, response) => {
    response.flushHeaders();
    const follower = new ResponseFollower(
      response,
      'peer',
      'client',
      (json) => Buffer.from(`${json}\n`),
      'ndjson',
    );
    follower.listen(told);
    socket = follower;
  });
  const port = await listening(t, server);
  const request = get({ port, host: '127.0.0.1', agent: false });
  request.on('error', () => undefined);
  const [answer] = (await once(request, 'response')) as [IncomingMessage];
  const received: string[] = [];
  let rest = '';
  answer.setEncoding('utf8').on('error', () => undefined);
  answer.on('data', (text: string) => {
    const lines = `${rest}${text}`.split('\n');
    rest = lines.pop() ?? '';
    received.push(...lines);
  });
  const leave = (): void => void request.destroy();
  const served = await until('the follower is served', () => socket);
  return {
    socket: served,
    told,
    received,
    pause: () => answer.pause(),
    resume: () => answer.resume(),
    leave,
  };
});

describeFollowerSocket('a fake connection', async (t): Promise<Followed> => {
  const { loop, chance, process } = simulated(t);
  const received: string[] = [];
  const connection = new Connection(null, process, loop, chance, {
    arrived: (event) => received.push(JSON.stringify(event)),
    ended: (ended) => ended.cut(),
  });
  const told = new Told();
  connection.events = told;
  const leave = (): void => connection.cut();
  return { socket: connection, told, received, pause: () => undefined, resume: () => undefined, leave };
});

/** @returns the port, on which the server listens until the test is over */
async function listening(t: TestContext, server: Server): Promise<number> {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => new Promise((resolve) => server.close(resolve)));
  return (server.address() as AddressInfo).port;
}
