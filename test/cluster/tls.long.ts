/** What a client that does not finish its TLS handshake costs a node. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import test from 'node:test';
import { Certificates, tlsFlags } from '../support/certificates.ts';
import { Cluster } from '../support/cluster.ts';
import { tlsConnected, tlsOptions } from '../support/tls-call.ts';

/** A connection that sends the beginning of a TLS record and then nothing. */
async function silent(port: number): Promise<Socket> {
  const socket = connect(port, '127.0.0.1');
  await once(socket, 'connect');
  socket.write(Buffer.from([0x16, 0x03, 0x01, 0x02, 0x00]));
  socket.on('error', () => undefined);
  return socket;
}

test('a handshake that does not go on is cut after ten seconds', async (t) => {
  const cluster = await Cluster.create(t);
  const certificates = await Certificates.create(t);
  const node = await cluster.start('node', ...tlsFlags(certificates.make('node')));
  const socket = await silent(node.port);
  await once(socket.resume(), 'close');
});

test('a handshake that trickles is cut after ten seconds too', async (t) => {
  const cluster = await Cluster.create(t);
  const certificates = await Certificates.create(t);
  const node = await cluster.start('node', ...tlsFlags(certificates.make('node')));
  const socket = await silent(node.port);
  const trickle = setInterval(() => socket.write(Buffer.from([0])), 500);
  t.after(() => clearInterval(trickle));
  await once(socket.resume(), 'close');
});

test('a client is disconnected when its certificate expires', async (t) => {
  const cluster = await Cluster.create(t);
  const certificates = await Certificates.create(t);
  const ca = certificates.path('ca.crt');
  const required = ['--tls-client-ca', ca, '--tls-client-auth', 'required'];
  const node = await cluster.start('node', ...tlsFlags(certificates.make('node')), ...required);
  const [short, long] = [5 / 86_400, 1].map((toDays, index) =>
    certificates.make(`client${index}`, { san: null, toDays }),
  );
  const sockets = await Promise.all(
    [short, long].map((pair) => tlsConnected(node.port, tlsOptions({ ca, pair }))),
  );
  const [lost, kept] = sockets;
  assert.ok(lost !== undefined && kept !== undefined);
  await once(lost.resume(), 'close');
  assert.equal(kept.destroyed, false);
  kept.destroy();
});

test('a node stops cleanly while handshakes are under way', async (t) => {
  const cluster = await Cluster.create(t);
  const certificates = await Certificates.create(t);
  const node = await cluster.start('node', ...tlsFlags(certificates.make('node')));
  await silent(node.port);
  assert.equal(await node.stop(), 0);
  assert.doesNotMatch(node.log, /stopped-late/);
});
