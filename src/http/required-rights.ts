/**
 * Which right each operation needs. What is not in the table is refused: a new route needs a row before anybody can
 * call it on a node with tokens.
 */
import type { FastifyRequest } from 'fastify';
import type { Principal } from '../access/principal.ts';
import type { Right } from '../access/right.ts';
import { Problem } from '../node/problem.ts';

/**
 * Where the keys of a request stand:
 * - `path`: one key in the path
 * - `query`: all keys that begin with `prefix`, or all keys if there is none; `all` needs the right `admin`
 * - `all`: all keys, whatever the query says; `against` needs the right `admin`
 * - `handler`: the route's handler checks each key itself, because only it parses them: from the body, or for `/v1/changes` from
 *   the query
 * - `history`: it tells where the writes of all keys end, so `read` must be for all keys; with `hash` or `snapshot` it also tells what they
 *   wrote (`mayKnowHash`)
 * - `node`: it concerns the whole node
 */
type Keys = 'path' | 'query' | 'all' | 'handler' | 'history' | 'node';

/** Any of the rights is enough. */
interface Required {
  readonly rights: readonly [Right, ...Right[]];
  readonly keys: Keys;
}

/** `open`: for everybody; `token`: for everybody who has a token. */
export type Requirement = Required | 'open' | 'token';

const READ_KEY: Required = { rights: ['read'], keys: 'path' };
const WRITE_KEY: Required = { rights: ['write'], keys: 'path' };
const READ_SOME: Required = { rights: ['read'], keys: 'query' };
const ADMIN: Required = { rights: ['admin'], keys: 'node' };
/** Hands out everything: no prefix can limit this right. */
const REPLICATE: Required = { rights: ['replicate'], keys: 'node' };
const STATUS: Required = { rights: ['metrics', 'replicate'], keys: 'node' };

/** By operation ID of openapi.yaml. */
export const REQUIRED: ReadonlyMap<string, Requirement> = new Map<string, Requirement>([
  ['getKey', READ_KEY],
  ['headKey', READ_KEY],
  ['putKey', WRITE_KEY],
  ['patchKey', WRITE_KEY],
  ['deleteKey', WRITE_KEY],
  ['appendToKey', WRITE_KEY],
  ['incrementKey', WRITE_KEY],
  ['setExpiry', WRITE_KEY],
  ['deleteExpiry', WRITE_KEY],
  ['listKeys', READ_SOME],
  ['exportEntries', READ_SOME],
  ['followChanges', { rights: ['read'], keys: 'handler' }],
  ['getDiff', READ_SOME],
  ['getDigest', { rights: ['read', 'replicate'], keys: 'all' }],
  ['getSnapshot', REPLICATE],
  ['getSnapshotFile', REPLICATE],
  ['headSnapshotFile', REPLICATE],
  ['deleteKeys', { rights: ['write'], keys: 'query' }],
  ['batch', { rights: ['read', 'write'], keys: 'handler' }],
  ['importEntries', { rights: ['write'], keys: 'handler' }],
  ['getReplication', STATUS],
  ['getSessions', STATUS],
  ['getBacklog', STATUS],
  ['getInfo', STATUS],
  ['checkPosition', { rights: ['read', 'metrics', 'replicate'], keys: 'history' }],
  ['setUpstream', ADMIN],
  ['deleteUpstream', ADMIN],
  ['failover', ADMIN],
  ['abortFailover', ADMIN],
  ['acceptEmptyMaster', ADMIN],
  ['resetCounters', ADMIN],
  ['endSession', ADMIN],
  ['getWriteHold', STATUS],
  ['holdWrites', ADMIN],
  ['releaseWrites', ADMIN],
  ['getConfig', ADMIN],
  ['changeConfig', ADMIN],
  ['listTokens', ADMIN],
  ['createToken', ADMIN],
  ['revokeToken', ADMIN],
  ['getMetrics', { rights: ['metrics'], keys: 'node' }],
  ['getHealth', 'open'],
  ['getReadiness', 'open'],
]);

/** Paths of the API's description, and `/`, which hold no data: a browser shows no token when somebody opens them. */
const DESCRIPTION = /^\/(?:openapi\.(?:json|yaml)|docs(?:\/(?:\*|json|yaml))?)?$/;
/** Path without an operation: it answers 426 to all but a WebSocket. */
const STREAM = '/v1/replication/stream';

/** @returns what the route of the request needs; null: the table does not know it */
export function requirementOf({ routeOptions: { url, schema } }: FastifyRequest): Requirement | null {
  const { operationId } = (schema ?? {}) as { readonly operationId?: string };
  return requirementFor(url, operationId);
}

/**
 * @param url of a route, as it was registered
 * @param operationId undefined: the route has none
 */
export function requirementFor(url: string | undefined, operationId: string | undefined): Requirement | null {
  if (url === STREAM) return 'token';
  if (url !== undefined && DESCRIPTION.test(url)) return 'open';
  return operationId === undefined ? null : (REQUIRED.get(operationId) ?? null);
}

/** @throws Problem FORBIDDEN if the principal may not do what the request asks for */
export function mustBeAllowed(principal: Principal, request: FastifyRequest): void {
  const required = requirementOf(request);
  if (required === 'open' || required === 'token') return;
  if (required === null) throw new Problem('FORBIDDEN', 'no right allows this');
  const { rights, keys } = required;
  principal.mustHave(...rights);
  if (keys === 'handler' || keys === 'node') return;
  if (reachesFurther(request)) principal.mustHave('admin');
  if (keys === 'history' || keys === 'all') {
    const { hash, snapshot } = request.query as { readonly hash?: unknown; readonly snapshot?: unknown };
    const tellsBytes = hash !== undefined || snapshot !== undefined;
    if (keys === 'history' && !tellsBytes && principal.has('metrics')) return;
    // Who follows the node gets all keys anyway.
    if (!mayKnowHash(principal)) principal.mustCover('read', '');
    return;
  }
  for (const prefix of keys === 'path' ? [keyOf(request)] : prefixesOf(request)) {
    principal.mustCover(rights[0], prefix);
  }
}

/**
 * Whether it may know a hash of the history, or of all entries. Who knows one, and where writes end, can try which values give it: so that one must be
 * allowed to read all of them.
 */
export function mayKnowHash(principal: Principal): boolean {
  return principal.has('replicate') || principal.covers('read', '');
}

/** Operations of which some requests need the right `admin`. */
export const REACHES_FURTHER: ReadonlySet<string> = new Set(['deleteKeys', 'getDigest']);

/** Whether the request deletes everything, or makes this node ask another one: then it needs the right `admin`. */
export function reachesFurther({ query }: FastifyRequest): boolean {
  const { all, against } = query as { readonly all?: string; readonly against?: string };
  return all !== undefined || against !== undefined;
}

/** The key as the router has decoded it. */
function keyOf({ params }: FastifyRequest): string {
  const { key } = params as { readonly key?: string };
  return key ?? '';
}

/** All keys begin with the empty prefix. */
function prefixesOf({ query }: FastifyRequest): readonly string[] {
  const { prefix = '' } = query as { readonly prefix?: string | readonly string[] };
  return typeof prefix === 'string' ? [prefix] : prefix;
}
