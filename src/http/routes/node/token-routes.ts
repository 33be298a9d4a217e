/** `/v1/tokens`: makes, lists and revokes the tokens of a running node. */
import { existsSync } from 'node:fs';
import type { FastifyInstance } from 'fastify';
import {
  createToken,
  listTokens,
  revokeToken,
  type ShownToken,
  TokenListError,
} from '../../../access/tokens/tokens.ts';
import { Problem } from '../../../node/problem.ts';
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
    handler: async () => {
      mustBeThere(place);
      return { tokens: (await inFile(async () => listTokens(place.path))).map(membersOf) };
    },
  });
}

function createRoute(app: FastifyInstance, place: TokenPlace): void {
  app.post<{ Body: Described<typeof tokenRequest> }>('/v1/tokens', {
    schema: {
      operationId: 'createToken',
      summary: 'Make a token',
      description:
        'The answer is the only place where the token itself is shown. The first token of a node is made on its machine, with ' +
        '`psyncd token create`: a node without tokens refuses this call.',
      tags: ['operation'],
      body: referenceTo(tokenRequest),
      response: {
        201: json('The token is valid from now on.', createdToken),
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
      mustBeThere(place);
      const { name, rights, prefixes = null, expiresAt = null } = request.body;
      const { record, text } = await inFile(() =>
        createToken(place.path, { name, rights, prefixes, expiresAt }, Date.now(), () =>
          request.standing.decide(),
        ),
      );
      await used(place);
      reply.code(201).header('cache-control', 'no-store');
      return { ...membersOf(record), token: text };
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
        ...problems('NOT_FOUND', 'DISK_FULL'),
      },
    },
    handler: async ({ params: { id }, standing }) => {
      mustBeThere(place);
      const revoked = await inFile(() => revokeToken(place.path, id, () => standing.decide()));
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

async function inFile<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw problemOf(error);
  }
}

/** What is wrong with the request, or with the file. */
function problemOf(error: unknown): unknown {
  if (error instanceof Problem) return error;
  if (error instanceof TokenListError) return new Problem('BAD_REQUEST', error.message);
  const code = error instanceof Error && 'code' in error ? error.code : null;
  if (code === 'ENOSPC' || code === 'EDQUOT')
    return new Problem('DISK_FULL', 'there is no room for the tokens');
  if (code !== null) return new Problem('STORAGE_FAILED', `the tokens cannot be read or written: ${code}`);
  return error;
}
