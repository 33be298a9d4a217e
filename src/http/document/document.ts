/**
 * Builds the OpenAPI document: its head, and the parts that several operations share. The routes describe each
 * operation with all its answers written out; this module turns repeated headers, examples, error answers and
 * parameters into components, so that the document states each once.
 */
import type { FastifyDynamicSwaggerOptions, SwaggerTransform } from '@fastify/swagger';
import { PROBLEM_TYPE } from '../../web/problem-body.ts';
import { type DocumentSchema, nameSchemas } from './named-schemas.ts';

/** Stands in openapi.yaml: who has the file knows where the node is. A node puts its own URL into the documents that it serves. */
export const SERVER = { url: '/', description: 'The node.' };

/**
 * Options for `@fastify/swagger`.
 * @param version of psyncd
 */
export function documentOptions(version: string): FastifyDynamicSwaggerOptions {
  return {
    openapi: {
      openapi: '3.1.0',
      info: {
        title: 'psyncd',
        version,
        description: DESCRIPTION,
        contact: { name: 'The maintainers of psyncd' },
        license: { name: 'MIT', identifier: 'MIT' },
      },
      servers: [SERVER],
      // A node without tokens asks for none.
      security: [{ token: [] }, {}],
      components: {
        securitySchemes: {
          token: {
            type: 'http',
            scheme: 'bearer',
            description:
              'A token that `psyncd token create` or `POST /v1/tokens` has made. A node without tokens needs none.',
          },
        },
      },
      tags: [
        { name: 'keys', description: 'Entries: a key and its bytes.' },
        { name: 'changes', description: 'The feed of every change.' },
        { name: 'replication', description: 'History, masters and replicas.' },
        { name: 'operation', description: 'For operators and supervisors.' },
      ],
    },
    refResolver: { buildLocalReference },
    transform: describeHead,
    transformObject: (document) =>
      'openapiObject' in document ? share(document.openapiObject as Described) : {},
  };
}

const DESCRIPTION = [
  'A key/value service with Redis-style master/replica replication.',
  '',
  'Every answer carries `Psync-Position` and `Psync-Role`. Errors are `application/problem+json` (RFC 9457)',
  'with a stable `code`. A write sent to a replica is redirected to its master with 307. Caches may keep values, and ask with their',
  'ETag before each use (`Cache-Control: no-cache`); they keep nothing else (`no-store`) but snapshots.',
  '',
  'A node answers to IP addresses, `localhost` and its own names, which `--allow-host` adds to: a request with another `Host` is',
  '403 `FORBIDDEN`, so that no page can reach a node by a name of its own (DNS rebinding). A body with a `Content-Encoding` other',
  'than identity is 415 `UNSUPPORTED_MEDIA_TYPE`, an `Expect` other than 100-continue 417 `EXPECTATION_FAILED`.',
  '',
  'On a node with tokens every call but `/healthz`, `/readyz` and this description needs one with the right for it, a token of',
  '`psyncd token create` or a JWT: without a valid one the answer is',
  '401 `UNAUTHORIZED`, without the right 403 `FORBIDDEN`; an address that shows many invalid tokens has to wait (429). With',
  '`--rate-limit` a client that sends too many requests is 429 `TOO_MANY_REQUESTS` with `Retry-After`, and every answer but those to',
  'probes and preflights states the limit in `RateLimit-Policy` and `RateLimit`. A WebSocket',
  'takes the token in the same header, or from pages as the subprotocol `bearer.` with the token in base64url.',
  '',
  'A path that is not here answers 404 `UNKNOWN_PATH`, a method that its path does not have 405',
  '`METHOD_NOT_ALLOWED` with `Allow`, and OPTIONS 204 with `Allow`.',
].join('\n');

/** Names schemas by their own `$id`. */
function buildLocalReference(schema: object, _base: unknown, _fragment: unknown, index: number): string {
  return '$id' in schema && typeof schema.$id === 'string' ? schema.$id : `schema-${index}`;
}

/** Gives a HEAD that Fastify answers through a GET route that route's answers without their bodies. */
const describeHead: SwaggerTransform = ({ schema, url, route }) => {
  if (route.method !== 'HEAD') return { schema, url };
  const { operationId, summary, response } = schema as Readonly<Record<string, unknown>>;
  const head = {
    ...schema,
    // The plugin names it `getKey-head`.
    operationId: String(operationId).replace(/^get(.*)-head$/, 'head$1'),
    summary: `${summary}: only the headers`,
    description: 'What GET answers, without the body.',
    response: Object.fromEntries(
      Object.entries(response as Readonly<Record<string, object>>).map(([status, answer]) => [
        status,
        { ...answer, content: undefined, type: 'null' },
      ]),
    ),
  };
  return { schema: head, url };
};

type Members<T> = Readonly<Record<string, T>>;

interface Header {
  readonly description?: string;
  readonly schema: object & { readonly required?: boolean };
}

interface Answer {
  readonly description: string;
  readonly headers?: Members<Header>;
  readonly content?: Members<{ readonly schema: object; readonly examples?: Members<object> }>;
}

interface Body {
  readonly content: Members<{ readonly schema: object }>;
}

interface Operation {
  readonly parameters?: readonly { readonly name: string }[];
  readonly requestBody?: Body;
  readonly responses: Members<Answer>;
}

interface Described {
  readonly components: { readonly schemas: Members<DocumentSchema> };
  readonly paths: Members<Members<Operation>>;
}

/** @returns the document with references to components in place of repeated answers and parameters */
function share(document: Described): object {
  const components = new Components(parametersOfSeveral(document));
  const paths = mapped(document.paths, (operations) =>
    mapped(operations, (operation) => ({
      ...operation,
      ...(operation.parameters === undefined
        ? {}
        : { parameters: operation.parameters.map((parameter) => components.parameter(parameter)) }),
      ...(operation.requestBody === undefined ? {} : { requestBody: asText(operation.requestBody) }),
      responses: {
        ...mapped(operation.responses, (answer) => components.answer(answer)),
        default: reference('responses', 'Problem'),
      },
    })),
  );
  const schemas = nameSchemas(document.components.schemas);
  return { ...document, components: { ...document.components, schemas, ...components.all() }, paths };
}

/**
 * Gives a type to bodies that the server takes as a stream, whose checks know no type. Generators know bytes by `format: binary`,
 * which JSON Schema does not have.
 */
function asText<Of extends Body>(body: Of): Of {
  const content = mapped(body.content, (media, type) => ({
    ...media,
    schema: {
      ...(type === 'application/octet-stream' ? BYTES : type === 'application/x-ndjson' ? TEXT : {}),
      ...media.schema,
    },
  }));
  return { ...body, content };
}

const TEXT = { type: 'string' } as const;
const BYTES = { ...TEXT, format: 'binary' } as const;

/** What every call may answer beside what it names: a newer node may have more codes. */
const ANY_PROBLEM = {
  description: 'Any other error.',
  content: { [PROBLEM_TYPE]: { schema: reference('schemas', 'Problem') } },
};

class Components {
  readonly #parameters: ReadonlyMap<string, object>;
  readonly #headers = new Map<string, object>();
  readonly #examples = new Map<string, object>();
  readonly #responses = new Map<string, object>();

  constructor(parameters: ReadonlyMap<string, object>) {
    this.#parameters = parameters;
  }

  all(): object {
    return {
      parameters: inOrder(this.#parameters),
      headers: inOrder(this.#headers),
      responses: { ...inOrder(this.#responses), Problem: ANY_PROBLEM },
      examples: inOrder(this.#examples),
    };
  }

  /** Reference to the parameter's component, or the parameter itself. */
  parameter(parameter: { readonly name: string }): object {
    const { name } = parameter;
    return same(this.#parameters.get(componentName(name)), parameter)
      ? reference('parameters', componentName(name))
      : parameter;
  }

  /** Reference to the answer's component; an error's component is named by its codes. */
  answer({ headers = {}, content, ...answer }: Answer): object {
    const referring = {
      ...answer,
      ...(Object.keys(headers).length === 0
        ? {}
        : {
            headers: mapped(headers, (header, name) =>
              this.#named('headers', this.#headers, componentName(name), moved(header)),
            ),
          }),
    };
    const problem = content?.[PROBLEM_TYPE];
    if (problem?.examples === undefined)
      return { ...referring, ...(content === undefined ? {} : asText({ content })) };
    const examples = mapped(problem.examples, (example, code) =>
      this.#named('examples', this.#examples, code, example),
    );
    return this.#named('responses', this.#responses, Object.keys(examples).join('_OR_'), {
      ...referring,
      content: { [PROBLEM_TYPE]: { schema: problem.schema, examples } },
    });
  }

  /** Returns a reference to the component, or the component itself if its name is taken by a different one. */
  #named(kind: string, known: Map<string, object>, name: string, component: object): object {
    if (!known.has(name)) known.set(name, component);
    return same(known.get(name), component) ? reference(kind, name) : component;
  }
}

/** @returns the name without dashes, which many generators cannot make a name of */
function componentName(name: string): string {
  return name.replaceAll('-', '');
}

/** Parameters that more than one operation has, by the name of their component; if several share one, the first. */
function parametersOfSeveral(document: Described): ReadonlyMap<string, object> {
  const all = Object.values(document.paths)
    .flatMap((operations) => Object.values(operations))
    .flatMap(({ parameters = [] }) => parameters);
  const several = new Map<string, object>();
  for (const parameter of all) {
    const uses = all.filter((each) => same(each, parameter)).length;
    const name = componentName(parameter.name);
    if (uses > 1 && !several.has(name)) several.set(name, parameter);
  }
  return several;
}

/** Moves `required` out of the schema of a header, because OpenAPI states it beside the schema. */
function moved({ schema: { required = false, ...schema }, ...header }: Header): object {
  return { ...header, ...(required ? { required } : {}), schema };
}

function reference(kind: string, name: string): object {
  return { $ref: `#/components/${kind}/${name}` };
}

function same(one: object | undefined, other: object): boolean {
  return JSON.stringify(one) === JSON.stringify(other);
}

function inOrder(components: ReadonlyMap<string, object>): object {
  return Object.fromEntries([...components].sort(([one], [other]) => (one < other ? -1 : 1)));
}

function mapped<T, U>(members: Members<T>, map: (value: T, name: string) => U): Members<U> {
  return Object.fromEntries(Object.entries(members).map(([name, value]) => [name, map(value, name)]));
}
