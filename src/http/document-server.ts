/**
 * What makes the OpenAPI document, and the pages that show it: a server of its own that listens nowhere, with the same
 * routes. Only few ever ask for it, so it is made when somebody does: loading its plugins and describing the routes
 * would take a quarter of every start.
 */
import swagger from '@fastify/swagger';
import swaggerUi from '@fastify/swagger-ui';
import Fastify, { type FastifyInstance } from 'fastify';
import { stringify } from 'yaml';
import { type ApiParts, apiRoutes } from './api-routes.ts';
import { documentOptions } from './document.ts';
import { plainJson } from './serialization.ts';
import { validators } from './validation.ts';

export interface DocumentParts extends ApiParts {
  /** For the document's `info.version`. */
  readonly version: string;
}

/** @returns a server that answers `/docs` to `inject`; `swagger()` gives the document. Its API routes are not for use. */
export async function createDocumentServer(parts: DocumentParts): Promise<FastifyInstance> {
  const app = Fastify({
    schemaController: { compilersFactory: { buildValidator: validators, buildSerializer: plainJson } },
  });
  await app.register(swagger, documentOptions(parts.version));
  await apiRoutes(app, parts);
  await app.register(swaggerUi, { routePrefix: '/docs' });
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
