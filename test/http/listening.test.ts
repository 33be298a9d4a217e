/** Which connections a server ends that stops. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import type { IncomingMessage } from 'node:http';
import { request } from 'node:https';
import { connect } from 'node:net';
import type { Duplex } from 'node:stream';
import test from 'node:test';
import Fastify from 'fastify';
import { Listening } from '../../src/http/listening.ts';
import { Places } from '../../src/http/request/places.ts';
import { systemWorld } from '../../src/runtime/system-world.ts';
import { ListenerTls } from '../../src/tls/listener-tls.ts';
import { Certificates } from '../support/certificates.ts';
import { SILENT } from '../support/silent-log.ts';

const NOBODY = { isKnown: () => false, endsStrangers: false };

test('with TLS too, unfinished handshakes and unanswered requests end, and upgraded connections stay', async (t) => {
  const certificates = await Certificates.create(t);
  const { cert, key } = certificates.make('node');
  const settings = {
    tlsCert: cert,
    tlsKey: key,
    tlsMinVersion: '1.2',
    tlsClientCa: null,
    tlsClientAuth: 'no',
    tlsReloadInterval: 0,
  } as const;
  const tls = new ListenerTls(settings, systemWorld, SILENT);
  t.after(() => tls.stop());
  const app = Fastify({ https: tls.options });
  tls.serve(app.server);
  app.get('/slow', () => new Promise(() => undefined));
  const upgraded: Duplex[] = [];
  app.server.on('upgrade', (_request, socket) => {
    upgraded.push(socket);
    socket.write('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: test\r\n\r\n');
    socket.pipe(socket);
  });
  const listening = new Listening(app as never, new Places(app.server, NOBODY), () => tls.endHandshakes());
  const port = await listening.listen('127.0.0.1', 0, 10);
  t.after(async () => {
    for (const socket of upgraded) socket.destroy();
    await listening.close();
  });

  const [shaking, arrived] = [connect(port, '127.0.0.1'), once(app.server, 'connection')];
  await Promise.all([once(shaking, 'connect'), arrived]);
  const slow = request({ port, path: '/slow', rejectUnauthorized: false }).end();
  const failed = once(slow, 'error');
  await once(app.server, 'request');
  const asking = request({
    port,
    rejectUnauthorized: false,
    headers: { connection: 'upgrade', upgrade: 'test' },
  }).end();
  const [, socket] = (await once(asking, 'upgrade')) as [IncomingMessage, Duplex];
  t.after(() => socket.destroy());

  shaking.resume().on('error', () => undefined);
  const ended = once(shaking, 'close');
  listening.closeAllConnections();
  await Promise.all([ended, assert.rejects(failed.then(([error]) => Promise.reject(error)))]);
  socket.write('still there');
  const [echo = null] = await Promise.race([once(socket, 'data'), once(socket, 'close').then(() => [])]);
  assert.equal(String(echo), 'still there');
});
