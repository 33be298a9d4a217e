/** Routes of the API's own description: `/openapi.json`, `/openapi.yaml`, `/docs` for people, and `/`, which names them. */
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { baseUrlOf } from '../../web/base-url.ts';
import { jsonLine } from '../../web/problem-body.ts';
import { varyBy } from '../answer-headers.ts';
import { noSuchPath } from '../problem.ts';
import { acceptedOf } from '../request/accept.ts';
import { once } from '../routes/once.ts';
import type { DocumentParts } from './document-server.ts';
import { ENTRANCE_POLICY, ENTRANCE_TYPES, entrance, entrancePage } from './entrance-page.ts';

export function documentRoutes(app: FastifyInstance, parts: DocumentParts): void {
  const described = once(async () => {
    const { createDocumentServer, documentYaml, SERVER } = await import('./document-server.ts');
    const server = await createDocumentServer(parts);
    const yaml = once(async () => documentYaml(server));
    // Everybody may ask: the text is made once.
    const json = jsonLine(server.swagger());
    const own = `"servers":[{"url":"${SERVER.url}"`;
    return {
      server,
      json: (url: string) => json.replace(own, () => own.replace(SERVER.url, url)),
      yaml: async (url: string) => (await yaml()).replace(`- url: ${SERVER.url}`, () => `- url: ${url}`),
    };
  });
  const base = ({ raw }: FastifyRequest): string => baseUrlOf(raw, parts.settings);

  const asJson = async (request: FastifyRequest, reply: FastifyReply): Promise<string> => {
    reply.type('application/json; charset=utf-8').serializer(String);
    return (await described()).json(base(request));
  };
  const asYaml = async (request: FastifyRequest, reply: FastifyReply): Promise<string> => {
    reply.type('application/yaml');
    return (await described()).yaml(base(request));
  };
  // The pages ask for the second of each pair.
  for (const path of ['/openapi.json', '/docs/json']) app.get(path, asJson);
  for (const path of ['/openapi.yaml', '/docs/yaml']) app.get(path, asYaml);

  const page = async (request: FastifyRequest, reply: FastifyReply): Promise<FastifyReply> => {
    const { server } = await described();
    // A HEAD is answered like a GET; the server drops the body in the end.
    const answer = await server.inject({ method: 'GET', url: request.url, headers: request.headers });
    if (answer.statusCode === 404) throw noSuchPath(request);
    // These headers belong to this connection, not to the inner request.
    const { connection, date, ...headers } = answer.headers;
    reply.code(answer.statusCode).headers(headers);
    if (typeof headers.location === 'string') reply.header('location', `${base(request)}${headers.location}`);
    // Fastify would add a content type to an empty buffer.
    return reply.send(answer.rawPayload.length === 0 ? undefined : answer.rawPayload);
  };
  app.get('/', (request, reply) => {
    // The router takes `*` for the root.
    if (!request.originalUrl.startsWith('/')) throw noSuchPath(request);
    varyBy(reply, 'Accept');
    const url = base(request);
    if (acceptedOf(request.headers.accept, ENTRANCE_TYPES) !== 'text/html') {
      return reply.type('application/json; charset=utf-8').serializer(jsonLine).send(entrance(url));
    }
    return reply
      .type('text/html; charset=utf-8')
      .header('content-security-policy', ENTRANCE_POLICY)
      .send(entrancePage(url));
  });
  // Relative links of the page need the final slash.
  app.get('/docs', async (request, reply) => reply.redirect(`${base(request)}/docs/`));
  app.get('/docs/*', page);
}
