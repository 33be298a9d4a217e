/** `/v1/tokens`: makes, lists and revokes the tokens of a running node. */
import { existsSync } from 'node:fs';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import {
  addCertificate,
  createToken,
  listTokens,
  type OnNode,
  revokeToken,
  type ShownToken,
  TokenFileError,
  TokenListError,
} from '../../../access/tokens/tokens.ts';
import type { Steps } from '../../../keyspace/json/json.ts';
import { Problem } from '../../../node/problem.ts';
import { inSlices, Line } from '../../request/slices.ts';
import { json } from '../../schemas/common/answers.ts';
import { type Described, referenceTo } from '../../schemas/common/described.ts';
import { problems } from '../../schemas/common/problems.ts';
import { createdToken, revokedToken, tokenList, tokenRequest } from '../../schemas/node/tokens.ts';

/** Where the tokens of the node are. */
export interface TokenPlace {
  /** Path of `tokens.json`. */
  readonly path: string;
  /** Whether the node uses a list of tokens; if not, all that it takes are signed. */
  readonly isUsed: boolean;
  /** Resolves when the node has read the file: whether it uses what the file holds now. */
  reload(): Promise<boolean>;
}

/** One request at a time reads or changes the list, which may be large. */
const LINE = new Line();
/** Fewer tokens than this become JSON at once. */
const FEW_TOKENS = 50;

export function tokenRoutes(app: FastifyInstance, place: TokenPlace): void {
  listRoute(app, place);
  createRoute(app, place);
  revokeRoute(app, place);
}

function listRoute(app: FastifyInstance, place: TokenPlace): void {
  app.get('/v1/tokens', {
    schema: {
      operationId: 'listTokens',
      summary: 'The tokens, without their secrets',
      description: 'What the file of the node holds of each token: who it is for and what it allows.',
      tags: ['operation'],
      response: { 200: json('All tokens, also those that have expired.', tokenList), ...problems('admin') },
    },
    handler: async (_request, reply) => {
      const tokens = await inFile(place, reply, () => listTokens(place.path, inSlices));
      if (tokens.length < FEW_TOKENS) return { tokens: tokens.map(membersOf) };
      const pieces = await inSlices(Number.POSITIVE_INFINITY, listSteps(tokens));
      return reply.type('application/json; charset=utf-8').send(Buffer.from(pieces.join(''), 'utf8'));
    },
  });
}

function createRoute(app: FastifyInstance, place: TokenPlace): void {
  app.post<{ Body: Described<typeof tokenRequest> }>('/v1/tokens', {
    schema: {
      operationId: 'createToken',
      summary: 'Make a token, or give rights to the owner of a certificate',
      description:
        'The answer is the only place where the token itself is shown. The first token of a node is made on its machine, with ' +
        '`psyncd token create`: a node without tokens refuses this call.',
      tags: ['operation'],
      body: referenceTo(tokenRequest),
      response: {
        201: json('The token or certificate is valid from now on.', createdToken),
        ...problems('admin', 'body', 'DISK_FULL'),
      },
    },
    handler: async (request, reply) => {
      if (request.principal.isAnybody) {
        throw new Problem(
          'FORBIDDEN',
          'this node has no tokens; psyncd token create makes the first one on its machine',
        );
      }
      const { name, rights, prefixes = null, expiresAt = null, certificate } = request.body;
      const wanted = { name, rights, prefixes, expiresAt };
      const now = Date.now();
      const made = await inFile(place, reply, async () => {
        if (certificate !== undefined)
          return membersOf(await addCertificate(place.path, wanted, certificate.san, now, onNode(request)));
        const { record, text } = await createToken(place.path, wanted, now, onNode(request));
        return { ...membersOf(record), token: text };
      });
      await used(place);
      reply.code(201);
      return made;
    },
  });
}

function revokeRoute(app: FastifyInstance, place: TokenPlace): void {
  app.delete<{ Params: { readonly id: string } }>('/v1/tokens/:id', {
    schema: {
      operationId: 'revokeToken',
      summary: 'Revoke a token',
      description: 'Its open streams and replicas are disconnected before the answer is sent.',
      tags: ['operation'],
      params: {
        type: 'object',
        required: ['id'],
        properties: { id: { type: 'string', description: 'ID of the token, as the list shows it.' } },
      },
      response: {
        200: json('The token is no longer valid.', revokedToken),
        ...problems('admin', 'NOT_FOUND', 'DISK_FULL'),
      },
    },
    handler: async (request, reply) => {
      const { id } = request.params;
      const revoked = await inFile(place, reply, () => revokeToken(place.path, id, onNode(request)));
      if (revoked === null)
        throw new Problem('NOT_FOUND', `there is no token ${JSON.stringify(id.slice(0, 80))}`);
      await used(place);
      return { id, revoked: true };
    },
  });
}

/** @throws Problem STORAGE_FAILED if the file that the node has read is gone: what it says now is not what the node uses */
function mustBeThere({ path, isUsed }: TokenPlace): void {
  if (!isUsed || existsSync(path)) return;
  throw new Problem(
    'STORAGE_FAILED',
    'the file with the tokens is gone; the node still uses what it held: put it back',
  );
}

/** @throws Problem STORAGE_FAILED if the node cannot read what was written */
async function used(place: TokenPlace): Promise<void> {
  if (await place.reload()) return;
  throw new Problem('STORAGE_FAILED', 'the file is changed, and the node cannot read it; its log says why');
}

function membersOf({ note, ...members }: ShownToken): Omit<ShownToken, 'note'> {
  return members;
}

function* listSteps(tokens: readonly ShownToken[]): Steps<readonly string[]> {
  const pieces: string[] = [];
  for (const token of tokens) {
    yield;
    pieces.push(`${pieces.length === 0 ? '{"tokens":[' : ','}${JSON.stringify(membersOf(token))}`);
  }
  pieces.push(']}');
  return pieces;
}

function onNode({ standing }: FastifyRequest): OnNode {
  return { decide: () => standing.decide(), take: inSlices };
}

async function inFile<T>(place: TokenPlace, reply: FastifyReply, work: () => Promise<T>): Promise<T> {
  try {
    return await LINE.run(reply, () => {
      mustBeThere(place);
      return work();
    });
  } catch (error) {
    throw problemOf(error);
  }
}

/** What is wrong with the request, or with the file. */
function problemOf(error: unknown): unknown {
  if (error instanceof Problem) return error;
  if (error instanceof TokenFileError)
    return new Problem('STORAGE_FAILED', `the file with the tokens cannot be used: ${error.message}`);
  if (error instanceof TokenListError) return new Problem('BAD_REQUEST', error.message);
  const code = error instanceof Error && 'code' in error ? error.code : null;
  if (code === 'ENOSPC' || code === 'EDQUOT')
    return new Problem('DISK_FULL', 'there is no room for the tokens');
  if (code !== null) return new Problem('STORAGE_FAILED', `the tokens cannot be read or written: ${code}`);
  return error;
}
