/** Downloads of snapshots: what their URLs say, and what is in them. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { readdir, writeFile } from 'node:fs/promises';
import { get, type IncomingMessage } from 'node:http';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import Database from 'better-sqlite3';
import type { ChildNode } from '../../src/cli/child-node.ts';
import { Cluster, temporaryFolder, writeMany } from './cluster.ts';
import { Connection, type Headers } from './contract.ts';

/** Where the node redirects to now. */
export async function placeOf(t: TestContext, node: ChildNode, query = ''): Promise<string> {
  const { status, headers, body } = await new Connection(t, node).send('GET', `/v1/snapshot${query}`);
  assert.equal(status, 307, body.toString());
  assert.equal(headers['cache-control'], 'no-store');
  return String(headers.location);
}

/** What the path of a snapshot says. */
export function parts(place: string): { runId: string; offset: number; sha256: string; path: string } {
  const match = /^(\/v1\/snapshots\/([0-9a-f]{40})\/(\d+))\?sha256=([0-9a-f]{64})$/.exec(place);
  assert.ok(match !== null, place);
  const [, path = '', runId = '', digits = '', sha256 = ''] = match;
  return { path, runId, offset: Number(digits), sha256 };
}

export function sha256Of(bytes: Buffer): string {
  return createHash('sha256').update(bytes).digest('hex');
}

/** Opens downloaded bytes with SQLite. */
export async function opened<T>(
  t: TestContext,
  bytes: Buffer,
  use: (db: Database.Database) => T,
): Promise<T> {
  const path = join(await temporaryFolder(t), 'snapshot.db');
  await writeFile(path, bytes);
  const db = new Database(path);
  try {
    assert.equal(db.pragma('integrity_check', { simple: true }), 'ok');
    return use(db);
  } finally {
    db.close();
  }
}

export function snapshotsIn(cluster: Cluster, name: string): Promise<string[]> {
  const folder = join(cluster.data(name), 'snapshots');
  return existsSync(folder) ? readdir(folder) : Promise.resolve([]);
}

export async function metric(node: ChildNode, name: string): Promise<number> {
  const text = await (await fetch(`${node.url}/metrics`)).text();
  return Number(new RegExp(`^${name}(?:\\{.*\\})? (\\S+)$`, 'm').exec(text)?.[1]);
}

/** A node with 5 MB of data. */
export async function filled(
  t: TestContext,
  ...flags: string[]
): Promise<{ cluster: Cluster; node: ChildNode }> {
  const cluster = await Cluster.create(t);
  const node = await cluster.start('node', ...flags);
  await writeMany(node, 'k', 50, 'x'.repeat(100_000));
  return { cluster, node };
}

/** Begins a download, and reads nothing of it yet. */
export async function begun(
  t: TestContext,
  node: ChildNode,
  place: string,
  headers: Headers = {},
): Promise<IncomingMessage> {
  const outgoing = get(`${node.url}${place}`, { headers: { ...headers } });
  outgoing.on('error', () => undefined);
  t.after(() => outgoing.destroy());
  const [answer] = (await once(outgoing, 'response')) as [IncomingMessage];
  return answer;
}

export async function readAll(answer: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of answer) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks);
}
