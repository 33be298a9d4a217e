/** `psyncd get`, `set`, `del`, `incr` and `keys`: single keys, and the list of them. */
import type { Command } from 'commander';
import { compareKeys } from '../../client/collection/key-order.ts';
import { parseTime, UsageError } from '../../settings/parse.ts';
import { MAX_VALUE_BYTES } from '../../stream/command.ts';
import { GrowingBuffer } from '../../stream/growing-buffer.ts';
import { CommandError, NotThere } from '../command-error.ts';
import { clientOf, nodeCommand, type Reach } from '../options/node.ts';
import { wholeFlag } from '../options/values.ts';
import { fromAnswer, told } from '../output/answer.ts';
import { print, printJson } from '../output/standard-output.ts';

/** An integer of 64 bits, as the node takes it; it checks the bounds. */
const INTEGER = /^-?\d{1,19}$/;
/** Keys that `psyncd keys` asks for at once. */
const PAGE = 1_000;

/** Adds the command. */
export function getCommand(psyncd: Command): void {
  nodeCommand(psyncd, 'get')
    .argument('<key>')
    .description("write a key's value to standard output; exit code 3 if there is none")
    .action(async (key: string, options: Reach) => {
      const value = await (await clientOf(options)).get(key);
      if (value === null) throw noKey(key);
      process.stdout.write(value);
      if (process.stdout.isTTY) process.stdout.write('\n');
    });
}

interface SetFlags extends Reach {
  readonly ttl?: string;
  readonly ifVersion?: string;
  readonly ifAbsent?: true;
}

/** Adds the command. */
export function setCommand(psyncd: Command): void {
  nodeCommand(psyncd, 'set')
    .argument('<key>')
    .argument('<value>', 'the value; - reads it from standard input')
    .description('set a key')
    .option(
      '--ttl <TIME>',
      'the entry expires after that time: 90s, 15m, 12h, or a number of seconds; without it, never',
    )
    .option('--if-version <N>', 'only if the entry has this version; exit code 1 if it has not')
    .option('--if-absent', 'only if there is no entry; exit code 1 if there is one')
    .action(async (key: string, value: string, { ttl, ifVersion, ifAbsent, ...reach }: SetFlags) => {
      if (ifVersion !== undefined && ifAbsent) {
        throw new UsageError('--if-version and --if-absent exclude each other');
      }
      const condition = {
        ...(ttl !== undefined && { ttl: seconds(ttl) }),
        ...(ifVersion !== undefined && { ifVersion: wholeFlag('--if-version', ifVersion) }),
        ...(ifAbsent && { ifAbsent }),
      };
      const body = value === '-' ? await standardInput() : value;
      const written = await (await clientOf(reach)).set(key, body, condition);
      print(fromAnswer(() => told`${written.created ? 'created' : 'replaced'}, at ${written.position}`));
    });
}

/** Adds the command. */
export function delCommand(psyncd: Command): void {
  nodeCommand(psyncd, 'del')
    .argument('<key>')
    .description('delete a key; exit code 3 if there is none')
    .action(async (key: string, options: Reach) => {
      if (!(await (await clientOf(options)).delete(key))) throw noKey(key);
      print('deleted');
    });
}

/** Adds the command. */
export function incrCommand(psyncd: Command): void {
  nodeCommand(psyncd, 'incr')
    .argument('<key>')
    .argument('[by]', 'an integer; after -- it may be negative', '1')
    .description('add to an integer, and print the sum; a missing key counts as 0')
    .action(async (key: string, by: string, options: Reach) => {
      if (!INTEGER.test(by)) throw new UsageError(`expected an integer, got ${JSON.stringify(by)}`);
      print(await (await clientOf(options)).sumAfter(key, by));
    });
}

/** Adds the command. */
export function keysCommand(psyncd: Command): void {
  nodeCommand(psyncd, 'keys')
    .argument('[prefix]', 'only keys that begin with it', '')
    .description('list the keys in the order of their bytes, one a line')
    .option('--limit <N>', 'at most so many')
    .option('--json', 'one JSON object a line: key, size, version, expiresAt')
    .action(async (prefix: string, { limit, json, ...reach }: Reach & { limit?: string; json?: true }) => {
      let left = limit === undefined ? Number.POSITIVE_INFINITY : wholeFlag('--limit', limit);
      const api = await clientOf(reach);
      for (let after: string | null | undefined; after !== null && left > 0; ) {
        const page = await api.page({ prefix: prefix || undefined, after, limit: Math.min(left, PAGE) });
        const names = fromAnswer(() => page.keys.map(({ key }) => told`${key}`));
        for (const [index, name] of names.entries()) {
          if (json) printJson(page.keys[index]);
          else print(name);
        }
        const { next } = page;
        // A page may have no keys, because they have expired. One that leads back could keep the command printing for ever.
        if (next !== null && !(typeof next === 'string' && compareKeys(next, after ?? '') > 0)) {
          throw new CommandError('the node names a next page that does not come after the last one');
        }
        left -= names.length;
        after = next;
      }
    });
}

function noKey(key: string): NotThere {
  return new NotThere(`there is no key ${JSON.stringify(key)}`);
}

/** Reads `15m`; a number without a unit is seconds. @throws UsageError */
function seconds(text: string): number {
  const value = /[a-z]\s*$/i.test(text) ? timeOf(text) / 1_000 : Number(text);
  if (text.trim() !== '' && Number.isFinite(value) && value > 0) return value;
  throw new UsageError(
    `--ttl: expected a time above 0 such as 90s or 15m, or a number of seconds, got ${JSON.stringify(text)}`,
  );
}

/** @returns milliseconds; NaN: it is no time */
function timeOf(text: string): number {
  try {
    return parseTime(text);
  } catch (error) {
    if (error instanceof UsageError) return Number.NaN;
    throw error;
  }
}

/** @throws CommandError when the input is longer than a value may be; it may be endless */
async function standardInput(): Promise<Uint8Array<ArrayBuffer>> {
  const bytes = new GrowingBuffer();
  let length = 0;
  for await (const chunk of process.stdin as AsyncIterable<Buffer>) {
    length += chunk.length;
    if (length > MAX_VALUE_BYTES) throw new CommandError(`the value has more than ${MAX_VALUE_BYTES} bytes`);
    bytes.add(chunk);
  }
  return new Uint8Array(bytes.take());
}
