/** WebSockets and the fake sockets keep the same promises. */
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { until } from '../../src/cli/until.ts';
import { Tally } from '../../src/node/ports/counts.ts';
import type { Dial, StreamSocket } from '../../src/node/ports/stream-socket.ts';
import { RequestCounts } from '../../src/web/record/request-counts.ts';
import { acceptWebSockets } from '../../src/ws/accept.ts';
import { dialer } from '../../src/ws/dial.ts';
import { FakeSocket } from '../simulation/fake-socket.ts';
import { Pipe } from '../simulation/pipe.ts';
import { NO_SETTINGS, openAccess, systemTls } from '../support/open-access.ts';
import { SILENT } from '../support/silent-log.ts';
import { simulated } from './simulated.ts';
import { describeStreamSocket, End, type OpenEnd, type SocketPlace } from './stream-socket.ts';

const HANDSHAKE_MS = 10_000;

describeStreamSocket('a WebSocket', async (t) => {
  const accepted: OpenEnd[] = [];
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
      accept: (socket) => {
        const end = endOf(() => socket);
        accepted.push(end);
        return end;
      },
      admitFollower: () => Promise.reject(new Error('nobody follows')),
      serveFollower: () => {
        throw new Error('nobody follows');
      },
    }),
  );
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => {
    for (const { socket } of accepted) socket.terminate();
    return new Promise((resolve) => server.close(resolve));
  });
  const dial = dialer(() => HANDSHAKE_MS, { isSet: false, read: () => null }, systemTls());
  const url = `ws://127.0.0.1:${(server.address() as AddressInfo).port}`;
  return place(
    (end) => dial(url, eventsOf(end)),
    accepted,
    (end) => dial('ws://127.0.0.1:1', eventsOf(end)),
  );
});

describeStreamSocket('the fake WebSocket', async (t) => {
  const { loop, chance, process } = simulated(t);
  const accepted: OpenEnd[] = [];
  const settings = { latencyMs: 2, windowBytes: 64 * 1024, cutOdds: 0.1 };
  const socketOf = (peer: string): FakeSocket => new FakeSocket(peer, process, 1, () => undefined);
  const dial = (end: End): StreamSocket => {
    const [dialing, serving] = [socketOf('server'), socketOf('dialer')];
    const up = new Pipe(loop, chance, settings, (frame) => serving.arrived(frame));
    const down = new Pipe(loop, chance, settings, (frame) => dialing.arrived(frame));
    dialing.listen(end);
    process.at(1, () => {
      serving.connect(down, up);
      const other = endOf(() => serving);
      accepted.push(other);
      serving.listen(other);
      dialing.connect(up, down);
      serving.open();
      dialing.open();
      end.opened();
    });
    return dialing;
  };
  const dialNobody = (end: End): StreamSocket => {
    const socket = socketOf('nobody');
    socket.listen(end);
    process.at(1, () => socket.closed(1006, 'nobody answers'));
    return socket;
  };
  return place(dial, accepted, dialNobody);
});

function place(
  dial: (end: End) => StreamSocket,
  accepted: readonly OpenEnd[],
  dialNobody: (end: End) => StreamSocket,
): SocketPlace {
  return {
    connect: async () => {
      const end = endOf(dial);
      await until('both ends are open', () => end.isOpen && accepted.length > 0);
      return { dialer: end, server: accepted.at(-1) as OpenEnd };
    },
    dialNobody: () => endOf(dialNobody),
  };
}

function endOf(socketFor: (end: End) => StreamSocket): OpenEnd {
  const end = new End();
  end.socket = socketFor(end);
  return end as OpenEnd;
}

function eventsOf(end: End): Parameters<Dial>[1] {
  return {
    opened: () => end.opened(),
    message: (bytes) => end.message(bytes),
    alive: () => end.alive(),
    pinged: (text) => end.pinged(text),
    closed: (code, reason) => end.closed(code, reason),
  };
}
