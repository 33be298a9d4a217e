/** NDJSON, line by line, in bounded memory. */
import { isUtf8 } from 'node:buffer';
import type { Readable } from 'node:stream';
import { parseExact } from '../keyspace/merge-patch.ts';
import { Problem } from '../node/problem.ts';

/** The longest line, in bytes: a value of 16 MiB as base64, and room for escapes. */
export const MAX_LINE_BYTES = 32 * 1024 * 1024;

const NEWLINE = 0x0a;

/**
 * The lines of a stream without their line ends, in groups as they arrive. A last line needs no line end.
 * The stream is not destroyed when the reader stops early.
 * @throws Problem BAD_LINE for a line beyond the limit
 */
export async function* lineGroups(source: Readable): AsyncGenerator<readonly Buffer[]> {
  let open: Buffer[] = [];
  let openBytes = 0;
  for await (const chunk of source.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) {
    const lines: Buffer[] = [];
    let from = 0;
    while (from < chunk.length && openBytes <= MAX_LINE_BYTES) {
      const end = chunk.indexOf(NEWLINE, from);
      const part = chunk.subarray(from, end === -1 ? chunk.length : end);
      open.push(part);
      openBytes += part.length;
      from += part.length + 1;
      if (end === -1 || openBytes > MAX_LINE_BYTES) continue;
      lines.push(open.length === 1 ? part : Buffer.concat(open, openBytes));
      open = [];
      openBytes = 0;
    }
    if (lines.length > 0) yield lines;
    if (openBytes > MAX_LINE_BYTES) {
      throw new Problem('BAD_LINE', `a line may have at most ${MAX_LINE_BYTES} bytes`);
    }
  }
  if (openBytes > 0) yield [Buffer.concat(open, openBytes)];
}

/** @throws Problem BAD_LINE for what is no JSON object in UTF-8 */
export function parseLine(line: Buffer): Readonly<Record<string, unknown>> {
  if (!isUtf8(line)) throw new Problem('BAD_LINE', 'it is not UTF-8');
  let value: unknown;
  try {
    value = parseExact(line.toString('utf8'));
  } catch {
    throw new Problem('BAD_LINE', 'it is not JSON');
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new Problem('BAD_LINE', 'it is not a JSON object');
  }
  return value as Record<string, unknown>;
}
