/** `psyncd get`, `set` and `del`: one key. */
import type { Command } from 'commander';
import { MAX_VALUE_BYTES } from '../../stream/command.ts';
import { GrowingBuffer } from '../../stream/growing-buffer.ts';
import { CommandError } from '../command-error.ts';
import { clientOf, nodeCommand, type Reach } from '../options/node.ts';
import { fromAnswer } from '../output/answer.ts';
import { print } from '../output/standard-output.ts';

/** Adds the command. */
export function getCommand(psyncd: Command): void {
  nodeCommand(psyncd, 'get')
    .argument('<key>')
    .description("write a key's value to standard output; exit code 1 if there is none")
    .action(async (key: string, options: Reach) => {
      const value = await (await clientOf(options)).get(key);
      if (value === null) throw new CommandError(`there is no key ${JSON.stringify(key)}`);
      process.stdout.write(value);
      if (process.stdout.isTTY) process.stdout.write('\n');
    });
}

/** Adds the command. */
export function setCommand(psyncd: Command): void {
  nodeCommand(psyncd, 'set')
    .argument('<key>')
    .argument('<value>', 'the value; - reads it from standard input')
    .description('set a key')
    .action(async (key: string, value: string, options: Reach) => {
      const body = value === '-' ? await standardInput() : value;
      const written = await (await clientOf(options)).set(key, body);
      print(fromAnswer(() => `${written.created ? 'created' : 'replaced'}, at ${written.position}`));
    });
}

/** Adds the command. */
export function delCommand(psyncd: Command): void {
  nodeCommand(psyncd, 'del')
    .argument('<key>')
    .description('delete a key; exit code 1 if there is none')
    .action(async (key: string, options: Reach) => {
      if (!(await (await clientOf(options)).delete(key))) {
        throw new CommandError(`there is no key ${JSON.stringify(key)}`);
      }
      print('deleted');
    });
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
