/** What a client that does not finish its TLS handshake costs a node. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import test from 'node:test';
import { Certificates, tlsFlags } from '../support/certificates.ts';
import { Cluster } from '../support/cluster.ts';

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

test('a node stops cleanly while handshakes are under way', async (t) => {
  const cluster = await Cluster.create(t);
  const certificates = await Certificates.create(t);
  const node = await cluster.start('node', ...tlsFlags(certificates.make('node')));
  await silent(node.port);
  assert.equal(await node.stop(), 0);
  assert.doesNotMatch(node.log, /stopped-late/);
});
