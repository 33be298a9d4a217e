/**
 * What makes the OpenAPI document, and the pages that show it: a server of its own that listens nowhere, with the same
 * routes. Only few ever ask for it, so it is made when somebody does: loading its plugins and describing the routes
 * would take a quarter of every start.
 */
import swagger from '@fastify/swagger';
import swaggerUi from '@fastify/swagger-ui';
import Fastify, { type FastifyInstance } from 'fastify';
import { stringify } from 'yaml';
import { type ApiParts, apiRoutes } from '../api-routes.ts';
import { validators } from '../schemas/validation.ts';
import { plainJson } from '../serialization.ts';
import { documentOptions } from './document.ts';

export interface DocumentParts extends ApiParts {
  /** For the document's `info.version`. */
  readonly version: string;
}

/**
 * What the pages may do: run their own scripts, ask this node, and be shown in no frame of another page. The scripts that show the
 * document set styles on elements, and bring small images along.
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

/** @returns a server that answers `/docs` to `inject`; `swagger()` gives the document. Its API routes are not for use. */
export async function createDocumentServer(parts: DocumentParts): Promise<FastifyInstance> {
  const app = Fastify({
    schemaController: { compilersFactory: { buildValidator: validators, buildSerializer: plainJson } },
  });
  await app.register(swagger, documentOptions(parts.version));
  await apiRoutes(app, parts);
  await app.register(swaggerUi, { routePrefix: '/docs', staticCSP: PAGE_POLICY });
  await app.ready();
  return app;
}

/** The document as YAML, as it also stands in openapi.yaml. */
export function documentYaml(server: FastifyInstance): string {
  const document = stringify(server.swagger(), {
    aliasDuplicateObjects: false,
    // Not folded: Biome folds otherwise.
    lineWidth: 0,
    // `no` and times in quotes: readers of YAML 1.1 would see something else than text.
    compat: 'yaml-1.1',
  });
  return `# Made by \`npm run openapi\` from the schemas in src/http; do not edit.\n${document}`;
}
