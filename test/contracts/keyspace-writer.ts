/** Writes commands into a keyspace file as a node does, and knows what must be in it. */
import type { Entry } from '../../src/keyspace/entry.ts';
import { compareKeys } from '../../src/keyspace/key.ts';
import { ChunkPool } from '../../src/keyspace/overlay/chunk-pool.ts';
import { Overlay } from '../../src/keyspace/overlay/overlay.ts';
import type { ListedEntry } from '../../src/keyspace/page.ts';
import type { Keyspace } from '../../src/node/ports/keyspace.ts';
import { offset, type Position } from '../../src/replication/position.ts';
import type { Command } from '../../src/stream/command.ts';
import { Encoder } from '../../src/stream/encoder.ts';
import { after, runId } from '../support/arbitraries.ts';

export const RUN_ID = runId('a');
export const START: Position = { runId: RUN_ID, offset: offset(0) };
const MEMORY_BYTES = 32 * 1024 * 1024;

export class KeyspaceWriter {
  readonly #keyspace: Keyspace;
  readonly #overlay = new Overlay(new ChunkPool(() => MEMORY_BYTES));
  #entries: ReadonlyMap<string, Entry> = new Map();
  position: Position;

  constructor(keyspace: Keyspace) {
    this.#keyspace = keyspace;
    this.position = keyspace.opened;
  }

  /** Resolves to the commands' bytes when they are in the file. */
  async write(...commands: readonly Command[]): Promise<Buffer> {
    const stream: Buffer[] = [];
    let at: number = this.position.offset;
    for (const command of commands) {
      const encoder = new Encoder();
      encoder.add(command);
      const { bytes } = encoder.finish();
      stream.push(bytes);
      at += bytes.length;
      const below = this.#entries;
      this.#overlay.apply(command, at, (key) => below.get(key) ?? null);
      this.#entries = after(below, command, at);
    }
    this.position = { runId: RUN_ID, offset: offset(at) };
    this.#overlay.seal(at);
    await this.#keyspace.flush(this.position, this.#overlay.sealed);
    this.#overlay.applied(at);
    return Buffer.concat(stream);
  }

  /** What the file must hold, in key order. */
  get entries(): readonly ListedEntry[] {
    return [...this.#entries]
      .map(([key, entry]) => ({ key, size: entry.value.length, ...entry }))
      .sort((one, other) => compareKeys(one.key, other.key));
  }
}

export function set(key: string, value: string, expiresAt: number | null = null): Command {
  return { kind: 'set', key, value: Buffer.from(value), expiresAt };
}
