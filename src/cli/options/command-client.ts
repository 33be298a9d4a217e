/** The client of the commands: it tells a sum as the node writes it. */
import { AdminClient } from '../../client/admin/admin-client.ts';
import type { CheckAnswer } from '../../client/answers.ts';
import { badAnswer, checkAnswer, jsonOf } from '../../client/api-error.ts';
import { parsePosition } from '../../client/position.ts';
import { writing } from '../../client/request/calls.ts';
import { pathOf } from '../../client/request/sendable.ts';

/** Longest first line of a stream of changes, in characters: it has two positions. */
const MAX_LINE = 64 * 1024;

/** What `JSON.parse` tells of a value without members. */
interface Told {
  readonly source?: string;
}

export class CommandClient extends AdminClient {
  /**
   * As `check`, of a replica that has a part of a snapshot.
   * @param snapshot as the replica announces it; null: it has none
   * @throws ApiError
   */
  checkPart(position: string, hash: string | null, snapshot: string | null): Promise<CheckAnswer> {
    const call = { path: '/v1/replication/check', query: { position, hash, snapshot } };
    return this.node.send(call, undefined, jsonOf<CheckAnswer>);
  }

  /**
   * Asks from which position a follower gets all changes since a time.
   * @param time milliseconds since 1970
   * @param prefixes of the keys that are to be followed; empty: all keys
   * @throws ApiError `POSITION_LOST` if the node does not have all of them any more
   */
  positionSince(time: number, prefixes: readonly string[]): Promise<string> {
    const query = new URLSearchParams({ 'from-time': String(time) });
    for (const prefix of prefixes) query.append('prefix', prefix);
    const call = { path: `/v1/changes?${query}`, headers: { accept: 'application/x-ndjson' } };
    return this.node.send(call, undefined, async (response) => {
      await checkAnswer(response, 'application/x-ndjson');
      const position = continuedAt(await firstLine(response));
      if (position === null) throw await badAnswer(response);
      return position;
    });
  }

  /**
   * Adds to an integer. `increment` does the same, and rounds a sum beyond 2^53.
   * @param by an integer of 64 bits
   * @returns all digits of the sum
   * @throws ApiError
   */
  sumAfter(key: string, by: string): Promise<string> {
    const call = writing({ path: `${pathOf(key)}/increment`, json: { by } });
    return this.node.send(call, undefined, async (response) => {
      await checkAnswer(response, 'application/json');
      const sum = integerIn(await response.text(), 'value');
      if (sum === null) throw await badAnswer(response);
      return sum;
    });
  }
}

/** @returns the first line of a stream, or its first 64 KiB; nothing more is read */
async function firstLine({ body }: Response): Promise<string> {
  const reader = body?.pipeThrough(new TextDecoderStream()).getReader();
  let text = '';
  while (reader !== undefined && text.length < MAX_LINE && !text.includes('\n')) {
    const { done, value } = await reader.read();
    if (done) break;
    text += value;
  }
  await reader?.cancel();
  return text.split('\n', 1)[0] ?? '';
}

/** @returns the position from which the node continues; null: the line says something else */
function continuedAt(line: string): string | null {
  try {
    const { type, position } = JSON.parse(line) as { readonly type?: unknown; readonly position?: unknown };
    return type === 'continue' && typeof position === 'string' && parsePosition(position) !== null
      ? position
      : null;
  } catch {
    return null;
  }
}

/** @returns the text of the integer that a member of a JSON object is; null: it is none */
function integerIn(json: string, name: string): string | null {
  let top: unknown;
  const found = new Map<unknown, string>();
  const keep = function (this: unknown, member: string, value: unknown, told?: Told): unknown {
    if (member === name && typeof value === 'number' && told?.source !== undefined) {
      found.set(this, told.source);
    }
    return value;
  };
  try {
    top = JSON.parse(json, keep);
  } catch {
    return null;
  }
  const text = found.get(top);
  return text !== undefined && /^-?\d{1,19}$/.test(text) ? text : null;
}
