/**
 * The limit for `put` and `get`, in a process of its own: a Fastify that only answers the same requests. It sends the
 * same headers and JSON of the same shape and size as psyncd, and stores nothing.
 */
import type { AddressInfo } from 'node:net';
import Fastify, { type FastifyReply, type FastifyRequest } from 'fastify';
import { VALUE } from './workload.ts';

const RUN_ID = '8f3b0c6d1e2a4b5c6d7e8f9a0b1c2d3e4f5a6b7c';
/** Bytes that a PUT adds to psyncd's stream, and psyncd's offset once all keys are written. */
const COMMAND_BYTES = 143;
const FIRST_OFFSET = 14_300_000;

/** Copied from psyncd's own schema; Fastify compiles it into a serializer. */
const written = {
  type: 'object',
  required: ['key', 'version', 'created', 'expiresAt', 'position'],
  properties: {
    key: { type: 'string' },
    version: { type: 'integer' },
    created: { type: 'boolean' },
    expiresAt: { type: ['integer', 'null'] },
    position: { type: 'string' },
  },
} as const;

const app = Fastify({ logger: false });
const value = Buffer.from(VALUE);
let version = FIRST_OFFSET;

app.removeAllContentTypeParsers();
app.addContentTypeParser('*', { parseAs: 'buffer' }, (_request, body, done) => done(null, body));

app.put('/v1/keys/*', {
  schema: { response: { 200: written } },
  handler: (request, reply) => {
    version += COMMAND_BYTES;
    const position = headers(reply);
    reply.send({ key: keyOf(request), version, created: false, expiresAt: null, position });
  },
});

app.get('/v1/keys/*', (_request, reply) => {
  headers(reply);
  reply.header('content-type', 'application/octet-stream').send(value);
});

function headers(reply: FastifyReply): string {
  const position = `${RUN_ID}:${version}`;
  reply.header('etag', `"${version}"`).header('psync-position', position).header('psync-role', 'master');
  return position;
}

function keyOf(request: FastifyRequest): string {
  return (request.params as { '*': string })['*'];
}

await app.listen({ host: '127.0.0.1', port: 0 });
process.stdout.write(`listening on http://127.0.0.1:${(app.server.address() as AddressInfo).port}\n`);
// The channel closes when the parent process ends.
process.once('disconnect', () => process.exit(0));
