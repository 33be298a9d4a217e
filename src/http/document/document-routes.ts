/** Routes of the API's own description: `/openapi.json`, `/openapi.yaml`, `/docs` for people, and `/`, which names them. */
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { baseUrlOf } from '../../web/base-url.ts';
import { jsonLine } from '../../web/problem-body.ts';
import { NOT_KEPT, varyBy } from '../answer-headers.ts';
import { noSuchPath } from '../problem.ts';
import { acceptedOf } from '../request/accept.ts';
import type { UnreadAnswers } from '../request/traffic/unread-answers.ts';
import { once } from '../routes/once.ts';
import type { DocumentParts } from './document-server.ts';
import { ENTRANCE_POLICY, ENTRANCE_TYPES, entrance, entrancePage } from './entrance-page.ts';
import { DocumentPages } from './pages.ts';

type PageRequest = FastifyRequest<{ Params: { readonly '*': string } }>;

/** The document as text, and its pages. */
interface Described {
  readonly pages: DocumentPages;
  /** Size of the JSON text, and about that of the YAML text. */
  readonly jsonBytes: number;
  /** @param url base URL of the API in the text */
  readonly json: (url: string) => string;
  readonly yaml: (url: string) => Promise<string>;
}

/**
 * A page of another origin that has opened a window with one of these pages loses its hold of it: it could exchange the page for a copy
 * that asks for the token.
 */
const OWN_WINDOW = ['cross-origin-opener-policy', 'same-origin'] as const;

/** @param answers limits the memory of answers that clients have not taken: strangers may ask for all of these */
export function documentRoutes(
  app: FastifyInstance,
  parts: DocumentParts,
  answers: Pick<UnreadAnswers, 'admit'>,
): void {
  const described = once(() => describe(parts));
  const base = ({ raw }: FastifyRequest): string => baseUrlOf(raw, parts.settings);
  const admit = async ({ raw }: FastifyRequest, reply: FastifyReply, bytes: number): Promise<void> => {
    const room = answers.admit(raw, reply.raw, bytes);
    if (room !== null) await room;
  };

  const asJson = async (request: FastifyRequest, reply: FastifyReply): Promise<string> => {
    reply.type('application/json; charset=utf-8').serializer(String);
    const { json, jsonBytes } = await described();
    await admit(request, reply, jsonBytes);
    return json(base(request));
  };
  const asYaml = async (request: FastifyRequest, reply: FastifyReply): Promise<string> => {
    reply.type('application/yaml');
    const { yaml, jsonBytes } = await described();
    await admit(request, reply, jsonBytes);
    return yaml(base(request));
  };
  // The pages ask for the second of each pair.
  for (const path of ['/openapi.json', '/docs/json']) app.get(path, asJson);
  for (const path of ['/openapi.yaml', '/docs/yaml']) app.get(path, asYaml);

  entranceRoute(app, base);
  // Relative links of the page need the final slash.
  app.get('/docs', async (request, reply) => reply.redirect(`${base(request)}/docs/`));
  app.get('/docs/*', async (request: PageRequest, reply: FastifyReply) => {
    const page = await (await described()).pages.page(request.params['*']);
    if (page === null) throw noSuchPath(request);
    const { status, headers, body } = page;
    if (headers.etag !== undefined && request.headers['if-none-match'] === headers.etag) {
      const { etag, 'cache-control': kept = NOT_KEPT[1] } = headers;
      return reply
        .code(304)
        .headers({ etag, [NOT_KEPT[0]]: kept })
        .send();
    }
    reply.code(status).headers(headers).header(OWN_WINDOW[0], OWN_WINDOW[1]);
    if (headers.location !== undefined) reply.header('location', `${base(request)}${headers.location}`);
    await admit(request, reply, body.length);
    // Fastify would add a content type to an empty buffer.
    return reply.send(body.length === 0 ? undefined : body);
  });
}

/** Loads what makes the document, and makes it. */
async function describe(parts: DocumentParts): Promise<Described> {
  const { createDocumentServer, documentYaml, SERVER } = await import('./document-server.ts');
  const server = await createDocumentServer(parts);
  const yaml = once(async () => documentYaml(server));
  // Everybody may ask: the text is made once.
  const json = jsonLine(server.swagger());
  const own = `"servers":[{"url":${JSON.stringify(SERVER.url)}`;
  return {
    pages: new DocumentPages(server),
    jsonBytes: json.length,
    json: (url) => json.replace(own, () => `"servers":[{"url":${JSON.stringify(url)}`),
    yaml: async (url) => (await yaml()).replace(`- url: ${SERVER.url}`, () => `- url: ${url}`),
  };
}

/** `/` names the documents: to browsers as a page, to others as JSON. */
function entranceRoute(app: FastifyInstance, base: (request: FastifyRequest) => string): void {
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
      .header(OWN_WINDOW[0], OWN_WINDOW[1])
      .send(entrancePage(url));
  });
}
