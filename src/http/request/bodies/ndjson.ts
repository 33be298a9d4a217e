/** Reads NDJSON line by line in bounded memory. */
import type { Readable } from 'node:stream';
import {
  JsonError,
  jsonSteps,
  parseJson,
  type StaysText,
  withoutByteOrderMark,
} from '../../../keyspace/json/json.ts';
import { isRawJSON } from '../../../keyspace/json/json-number.ts';
import { Problem } from '../../../node/problem.ts';
import { GrowingBuffer } from '../../../stream/growing-buffer.ts';
import { inSlices } from '../slices.ts';
import type { BodyBudget } from './body-budget.ts';

/** The longest line, in bytes: a value of 16 MiB as base64, and room for escapes. */
export const MAX_LINE_BYTES = 32 * 1024 * 1024;

/** Size above which an incomplete line counts in the budget, in bytes. */
const SHORT_LINE_BYTES = 64 * 1024;

const NEWLINE = 0x0a;

/**
 * Yields the lines of a stream without their line ends, in groups as they arrive. The last line needs no line end.
 * Stopping early does not destroy the stream.
 * @param budget counts the incomplete line; while it has no room for more, the stream is not read
 * @throws Problem BAD_LINE for a line beyond the limit
 */
export async function* lineGroups(source: Readable, budget: BodyBudget): AsyncGenerator<readonly Buffer[]> {
  const open = new GrowingBuffer();
  for await (const chunk of source.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) {
    const lines: Buffer[] = [];
    let from = 0;
    while (from < chunk.length && open.length <= MAX_LINE_BYTES) {
      const end = chunk.indexOf(NEWLINE, from);
      const part = chunk.subarray(from, end === -1 ? chunk.length : end);
      from += part.length + 1;
      if (end !== -1 && open.length === 0 && part.length <= MAX_LINE_BYTES) {
        lines.push(part);
        continue;
      }
      open.add(part);
      if (end !== -1 && open.length <= MAX_LINE_BYTES) lines.push(open.take());
    }
    if (lines.length > 0) yield lines;
    if (open.length > MAX_LINE_BYTES) {
      budget.release(source);
      throw new Problem('BAD_LINE', `a line may have at most ${MAX_LINE_BYTES} bytes`);
    }
    if (open.length <= SHORT_LINE_BYTES) budget.release(source);
    else if (!budget.hold(source, open.length, MAX_LINE_BYTES)) {
      await new Promise<void>((resolve) => budget.whenRoom(source, resolve));
    }
  }
  if (open.length > 0) yield [open.take()];
}

/** Selects the member `value` to stay text, because another member says how to read it. */
const isValue: StaysText = (depth, name) => depth === 1 && name === 'value';

/**
 * @returns the members of the line
 * @throws Problem BAD_LINE if the line is not a JSON object in UTF-8
 */
export function parseLine(line: Buffer): Readonly<Record<string, unknown>> {
  try {
    return asObject(parseJson(line, isValue));
  } catch (error) {
    throw badLine(error);
  }
}

/** Parses a line of any length, in slices. */
export async function parseLongLine(line: Buffer): Promise<Readonly<Record<string, unknown>>> {
  try {
    return asObject(await inSlices(line.length, jsonSteps(line, isValue)));
  } catch (error) {
    throw badLine(error);
  }
}

function asObject(value: unknown): Readonly<Record<string, unknown>> {
  if (typeof value !== 'object' || value === null || Array.isArray(value) || isRawJSON(value)) {
    throw new Problem('BAD_LINE', 'it is not a JSON object');
  }
  return value as Record<string, unknown>;
}

function badLine(error: unknown): unknown {
  return error instanceof JsonError ? new Problem('BAD_LINE', `it is not JSON: ${error.detail}`) : error;
}

/** Whether the line holds only white space, perhaps after a byte order mark. */
export function isBlank(line: Buffer): boolean {
  const text = withoutByteOrderMark(line);
  for (let at = 0; at < text.length; at += 1) {
    const byte = text[at] as number;
    if (byte !== 0x20 && (byte < 0x09 || byte > 0x0d)) return false;
  }
  return true;
}
