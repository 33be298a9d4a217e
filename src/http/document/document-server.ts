/**
 * Makes the OpenAPI document and the pages that show it: a separate server with the same routes that listens nowhere.
 * It is made on the first request for the document: loading its plugins and describing the routes would take a quarter
 * of every start.
 */
import swagger from '@fastify/swagger';
import swaggerUi from '@fastify/swagger-ui';
import Fastify, { type FastifyInstance } from 'fastify';
import { stringify } from 'yaml';
import { type ApiParts, apiRoutes } from '../api-routes.ts';
import { validators } from '../schemas/validation.ts';
import { plainJson } from '../serialization.ts';
import { askFirst } from './ask-first.ts';
import { documentOptions, SERVER } from './document.ts';

export { SERVER };

export interface DocumentParts extends ApiParts {
  /** Value of the document's `info.version`. */
  readonly version: string;
}

/**
 * Content security policy of the pages: they may run their own scripts and call this node, and no other page may frame
 * them. The scripts that show the document set styles on elements and embed small images.
 */
const PAGE_POLICY = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self' 'unsafe-inline'",
  "img-src 'self' data:",
  "font-src 'self' data:",
  "connect-src 'self'",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
].join('; ');

/**
 * @returns a server that answers `/docs` through `inject`; `swagger()` returns the document. Its API routes are there to be
 * described, and answer nothing.
 */
export async function createDocumentServer(parts: DocumentParts): Promise<FastifyInstance> {
  const app = Fastify({
    schemaController: { compilersFactory: { buildValidator: validators, buildSerializer: plainJson } },
  });
  // They would have the running node, and none of the hooks that ask who may do what.
  app.addHook('onRoute', (route) => {
    if (!/^\/docs(?:\/|$)/.test(route.url)) route.handler = describedOnly;
  });
  await app.register(swagger, documentOptions(parts.version));
  await apiRoutes(app, parts);
  // `as never`: the plug-in's type needs types of browsers.
  await app.register(swaggerUi, {
    routePrefix: '/docs',
    staticCSP: PAGE_POLICY,
    uiConfig: { requestInterceptor: askFirst as never },
  });
  await app.ready();
  return app;
}

function describedOnly(): never {
  throw new Error('this server describes the API and does not serve it');
}

/** Writes the document as YAML, like openapi.yaml. */
export function documentYaml(server: FastifyInstance): string {
  const document = stringify(server.swagger(), {
    aliasDuplicateObjects: false,
    // Folding is off because Biome folds differently.
    lineWidth: 0,
    // Quotes `no` and times, which YAML 1.1 readers would not take for text.
    compat: 'yaml-1.1',
  });
  return `# Made by \`npm run openapi\` from the schemas in src/http; do not edit.\n${document}`;
}
