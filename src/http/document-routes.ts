/** The API's own description: `/openapi.json`, `/openapi.yaml`, and for people `/docs`. */
import swaggerUi from '@fastify/swagger-ui';
import type { FastifyInstance } from 'fastify';

/** The document as YAML, as it also stands in openapi.yaml. */
export async function documentYaml(app: FastifyInstance): Promise<string> {
  // Loaded when somebody asks: a node starts sooner without.
  const { stringify } = await import('yaml');
  const document = stringify(app.swagger(), {
    aliasDuplicateObjects: false,
    // Not folded: Biome folds otherwise.
    lineWidth: 0,
    // `no` and times in quotes: readers of YAML 1.1 would see something else than text.
    compat: 'yaml-1.1',
  });
  return `# Made by \`npm run openapi\` from the schemas in src/http; do not edit.\n${document}`;
}

export async function documentRoutes(app: FastifyInstance): Promise<void> {
  app.get('/openapi.json', {
    schema: { hide: true },
    handler: (_request, reply) => {
      reply.send(app.swagger());
    },
  });
  app.get('/openapi.yaml', {
    schema: { hide: true },
    handler: async (_request, reply) => {
      reply.type('application/yaml');
      return documentYaml(app);
    },
  });
  await app.register(swaggerUi, { routePrefix: '/docs' });
}
