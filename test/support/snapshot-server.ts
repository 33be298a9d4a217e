/** A server that hands snapshots out as a node does, with the faults that a test wants. */
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { TestContext } from 'node:test';
import { formatPosition } from '../../src/replication/position.ts';
import { BACKED_UP } from './backups.ts';

const POSITION = formatPosition(BACKED_UP);
const PATH = `/v1/snapshots/${BACKED_UP.runId}/${BACKED_UP.offset}`;

export interface SnapshotFaults {
  /** The connection is cut after so many bytes of each answer. */
  readonly cutAfter?: number;
  /** Answers 503 so many times before it makes the snapshot. */
  readonly busy?: number;
  /** Requests, counted from 1, whose connection is cut before the first byte of an answer. */
  readonly cutRequests?: readonly number[];
  /** Requests for the bytes, counted from 1, that are answered with 410. */
  readonly lostAt?: readonly number[];
  /** Whether it ignores `Range`. */
  readonly ignoresRange?: boolean;
  /** Whether the bytes are others than the digest says. */
  readonly flips?: boolean;
  /** Where the snapshot is said to be. */
  readonly location?: string;
  /** Status of the answer instead of a snapshot. */
  readonly status?: number;
  /** The run ID that the node tells; absent: that of the snapshot. */
  readonly runId?: string;
  /** Last offset of the snapshot's history that the node still shares; absent: the node tells of no such ancestor. */
  readonly validTo?: number;
  /** The length that it states; absent: the right one. */
  readonly length?: string;
  /** The token that it wants. */
  readonly token?: string;
}

export interface SnapshotServer {
  readonly url: string;
  /** `Range` of each request for the bytes; null: it had none. */
  readonly ranges: (string | null)[];
}

/** @param bytes of the keyspace file */
export async function snapshotServer(
  t: TestContext,
  bytes: Buffer,
  faults: SnapshotFaults = {},
): Promise<SnapshotServer> {
  const ranges: (string | null)[] = [];
  let asked = 0;
  let requests = 0;
  const server = createServer((request, response) => {
    const path = (request.url ?? '').split('?')[0];
    requests += 1;
    if (faults.cutRequests?.includes(requests)) return request.socket.destroy();
    response.setHeader('psync-position', POSITION);
    if (faults.token !== undefined && request.headers.authorization !== `Bearer ${faults.token}`) {
      return problem(response, 401, 'UNAUTHORIZED');
    }
    if (faults.status !== undefined) return problem(response, faults.status, 'DISK_FULL');
    if (path === '/v1/replication') return replication(response, faults);
    if (path === '/v1/snapshot') {
      asked += 1;
      if (asked <= (faults.busy ?? 0)) return problem(response, 503, 'LOADING');
      response.writeHead(307, { location: faults.location ?? PATH });
      return response.end();
    }
    ranges.push(request.headers.range ?? null);
    if (faults.lostAt?.includes(ranges.length)) return problem(response, 410, 'POSITION_LOST');
    return file(request, response, bytes, faults);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, ranges };
}

function problem(response: ServerResponse, status: number, code: string): void {
  response.writeHead(status, {
    'content-type': 'application/problem+json',
    ...(status === 503 && { 'retry-after': '0' }),
  });
  response.end(
    JSON.stringify({ type: 'about:blank', title: 'x', status, code, detail: `${code} of the test` }),
  );
}

function replication(response: ServerResponse, { runId = BACKED_UP.runId, validTo }: SnapshotFaults): void {
  response.writeHead(200, { 'content-type': 'application/json' });
  const ancestor = { runId: BACKED_UP.runId, validTo, reason: 'promoted', at: 2 };
  const lineage = [
    ...(validTo === undefined ? [] : [ancestor]),
    { runId: 'f'.repeat(40), validTo: 5, reason: 'promoted', at: 1 },
  ];
  const position = `${runId}:${BACKED_UP.offset}`;
  response.end(JSON.stringify({ runId, position, historyHash: null, lineage }));
}

function file(
  { headers }: IncomingMessage,
  response: ServerResponse,
  bytes: Buffer,
  { cutAfter, flips, ignoresRange, length }: SnapshotFaults,
): void {
  const digest = createHash('sha256').update(bytes).digest('base64');
  const start = ignoresRange ? 0 : Number(/^bytes=(\d+)-$/.exec(headers.range ?? '')?.[1] ?? 0);
  response.setHeader('etag', `"${BACKED_UP.runId}/${BACKED_UP.offset}"`);
  response.setHeader('psync-history-hash', '0123456789abcdef');
  response.setHeader('repr-digest', `sha-256=:${digest}:`);
  response.setHeader('content-type', 'application/vnd.sqlite3');
  response.setHeader('content-length', length ?? bytes.length - start);
  if (start > 0) response.setHeader('content-range', `bytes ${start}-${bytes.length - 1}/${bytes.length}`);
  response.writeHead(start > 0 ? 206 : 200);
  const sent = Buffer.from(bytes.subarray(start));
  if (flips) sent[sent.length >> 1] = (sent[sent.length >> 1] as number) ^ 1;
  if (length !== undefined) response.write(sent);
  else if (cutAfter === undefined || cutAfter >= sent.length) response.end(sent);
  else response.write(sent.subarray(0, cutAfter), () => response.destroy());
}
