import { Readable } from 'node:stream';
import type { ChildNode } from '../src/cli/child-node.ts';
import { ndjson } from './workload.ts';

/** Imports the first `entries` keys into a node. */
export async function fill({ client }: ChildNode, entries: number): Promise<void> {
  await client.import(Readable.toWeb(Readable.from(ndjson(entries))) as ReadableStream<Uint8Array>);
}
