/** `psyncd import`: sends a file of NDJSON to a node, and shows progress. */
import { createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import { Readable, Transform } from 'node:stream';
import { ApiError } from '../../client/api-error.ts';
import { Client } from '../../client/full/client.ts';
import type { Imported, ReplicationAnswer } from '../../client/rest.ts';
import { messageOf } from '../../node/ports/failures.ts';
import { CommandError } from '../command-error.ts';
import { PATIENT, type Shown } from '../options/node.ts';
import { fromAnswer } from '../output/answer.ts';
import { progress } from '../output/progress.ts';

/**
 * @param path a file, or `-` for standard input
 * @param node any node: if it is a replica, the data goes to its master
 */
export async function importFile(path: string, node: string, shown?: Shown): Promise<Imported> {
  const total = path === '-' ? null : await sizeOf(path);
  const source = path === '-' ? process.stdin : createReadStream(path);
  return importStream(source, total, await masterOf(node, shown), shown);
}

/**
 * @param total size in bytes; null: unknown
 * @param master `http://HOST:PORT`
 */
export async function importStream(
  source: Readable,
  total: number | null,
  master: string,
  shown?: Shown,
): Promise<Imported> {
  const bar = total === null ? null : progress('importing', total);
  let sent = 0;
  const counted = source.pipe(
    new Transform({
      transform(chunk: Buffer, _encoding, done) {
        sent += chunk.length;
        bar?.update(sent, `${(sent / 1024 ** 2).toFixed(1)} MiB`);
        done(null, chunk);
      },
    }),
  );
  source.on('error', (error) => counted.destroy(error));
  const interrupted = (): void => {
    bar?.stop();
    process.stderr.write(`\npsyncd: interrupted; of the ${sent} bytes that were read, most entries are in\n`);
    process.exit(130);
  };
  process.once('SIGINT', interrupted);
  try {
    return await new Client(master, { ...PATIENT, ...shown }).import(
      Readable.toWeb(counted) as ReadableStream<Uint8Array>,
    );
  } finally {
    process.off('SIGINT', interrupted);
    bar?.stop();
    source.destroy();
  }
}

/**
 * @returns what the node follows; null: it is a master
 * @throws CommandError if it is a replica that does not tell this token its master
 */
async function upstreamOf(url: string, shown: Shown | undefined): Promise<ReplicationAnswer['upstream']> {
  try {
    return (await new Client(url, { ...PATIENT, ...shown }).replication()).upstream;
  } catch (error) {
    if (!(error instanceof ApiError && error.code === 'FORBIDDEN')) throw error;
    if ((await roleOf(url, shown)) !== 'replica') return null;
    throw new CommandError(
      `${url} is a replica, and this token may not ask it for its master (right metrics or replicate); --node names the master`,
    );
  }
}

/** @returns the role that the node states in every answer */
async function roleOf(url: string, shown: Shown | undefined): Promise<string | null> {
  const get = shown?.transport?.fetch ?? fetch;
  const answer = await get(`${url.replace(/\/$/, '')}/healthz`);
  await answer.body?.cancel();
  return answer.headers.get('psync-role');
}

/** Finds the master first: a streamed body cannot be sent again after a redirect. */
async function masterOf(node: string, shown: Shown | undefined): Promise<string> {
  let url = node;
  // Follows a chain of replicas up to a limit.
  for (let hops = 0; hops < 16; hops += 1) {
    const upstream = await upstreamOf(url, shown);
    if (upstream === null) return url;
    const next = fromAnswer(() => (upstream.announcedUrl ?? upstream.url).replace(/^ws/, 'http'));
    checkMaster(url, next, shown);
    url = next;
  }
  throw new CommandError('no master found: the replicas follow each other in a circle');
}

/** @throws CommandError if it is no URL, or the token would go over http although the replica is reached over https */
function checkMaster(replica: string, master: string, shown: Shown | undefined): void {
  if (!/^https?:\/\//i.test(master))
    throw new CommandError(`the node names no master: ${JSON.stringify(master)}`);
  if (shown?.token === undefined || !/^https:/i.test(replica) || /^https:/i.test(master)) return;
  throw new CommandError(
    `the master is ${master}, and a token is not shown over http; --node names the master`,
  );
}

async function sizeOf(path: string): Promise<number> {
  try {
    const stats = await stat(path);
    if (stats.isDirectory()) throw new CommandError(`${path} is a folder`);
    return stats.size;
  } catch (error) {
    if (error instanceof CommandError) throw error;
    throw new CommandError(`cannot read ${path}: ${messageOf(error)}`);
  }
}
