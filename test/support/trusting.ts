/** Nodes that trust an issuer of JWTs: a test has each token that it needs at once. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import type { ChildNode } from '../../src/cli/child-node.ts';
import { Cluster } from './cluster.ts';
import { AUDIENCE, Issuer } from './jwt-issuer.ts';

export const JWT_FLAGS = ['--jwt-audience', AUDIENCE, '--auth-failures', '100000'];

export interface Trusting {
  readonly cluster: Cluster;
  readonly node: ChildNode;
  readonly issuer: Issuer;
  readonly keyFile: string;
}

/** A node that trusts one issuer, by a key file. */
export async function trusting(t: TestContext, ...flags: string[]): Promise<Trusting> {
  const cluster = await Cluster.create(t);
  const issuer = await Issuer.create();
  const keyFile = join(cluster.data('node'), '..', 'jwt.pem');
  writeFileSync(keyFile, await issuer.pem());
  const node = await cluster.start('node', '--jwt-key-file', keyFile, ...JWT_FLAGS, ...flags);
  return { cluster, node, issuer, keyFile };
}

export function call(node: ChildNode, token: string | null, method: string, path: string, body?: string) {
  return fetch(`${node.url}${path}`, {
    method,
    headers: token === null ? {} : { authorization: `Bearer ${token}` },
    body: body ?? null,
    signal: AbortSignal.timeout(60_000),
  });
}
