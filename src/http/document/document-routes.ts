/** Routes of the API's own description: `/openapi.json`, `/openapi.yaml`, and `/docs` for people. */
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { noSuchPath } from '../problem.ts';
import { once } from '../routes/once.ts';
import type { DocumentParts } from './document-server.ts';

export function documentRoutes(app: FastifyInstance, parts: DocumentParts): void {
  const described = once(async () => {
    const { createDocumentServer, documentYaml } = await import('./document-server.ts');
    const server = await createDocumentServer(parts);
    return { server, yaml: () => documentYaml(server) };
  });

  app.get('/openapi.json', async () => (await described()).server.swagger());
  app.get('/openapi.yaml', async (_request, reply) => {
    reply.type('application/yaml');
    return (await described()).yaml();
  });

  const page = async (request: FastifyRequest, reply: FastifyReply): Promise<FastifyReply> => {
    const { server } = await described();
    // A HEAD is answered like a GET; the server drops the body in the end.
    const answer = await server.inject({ method: 'GET', url: request.url, headers: request.headers });
    if (answer.statusCode === 404) throw noSuchPath(request);
    // These headers belong to this connection, not to the inner request.
    const { connection, date, ...headers } = answer.headers;
    reply.code(answer.statusCode).headers(headers);
    // Fastify would add a content type to an empty buffer.
    return reply.send(answer.rawPayload.length === 0 ? undefined : answer.rawPayload);
  };
  app.get('/docs', page);
  app.get('/docs/*', page);
}
