/**
 * Exports: all live entries with a prefix, at one position, as fast as the client reads them.
 *
 * Owns: the limit on the number of exports at the same time, and the limit on the disk space that each of them holds.
 */
import { isLive } from '../../keyspace/entry.ts';
import type { ListedEntry } from '../../keyspace/page.ts';
import type { StreamHead } from '../head/stream-head.ts';
import { Hold } from '../hold.ts';
import type { EntryReader } from '../ports/keyspace.ts';
import type { Log, World } from '../ports/world.ts';
import { Problem } from '../problem.ts';
import { Turns } from '../turns.ts';

/** Largest number of exports at the same time, because each keeps the WAL from shrinking. */
const MAX_READERS = 8;

interface ExportsParts {
  readonly world: World;
  readonly log: Log;
  readonly head: StreamHead;
  readonly settings: {
    /** Bytes that an export may hold on the disk beyond the credit of what its client has taken (hold.ts). */
    readonly outputLimitBytes: number;
  };
}

export class Exports {
  readonly #parts: ExportsParts;
  #readers = 0;
  /** Whether the node has refused an export since the last one ended. */
  #refused = false;

  constructor(parts: ExportsParts) {
    this.#parts = parts;
  }

  /** @returns all live entries with the prefix @throws Problem TOO_MANY_REQUESTS while `MAX_READERS` exports are going on */
  async read(prefix: string): Promise<EntryReader> {
    if (this.#readers >= MAX_READERS) {
      this.#refused = true;
      throw new Problem('TOO_MANY_REQUESTS', `${MAX_READERS} exports are going on already`);
    }
    this.#readers += 1;
    try {
      return this.#limited(await this.#parts.head.readEntries([prefix]));
    } catch (error) {
      this.#ended();
      throw error;
    }
  }

  #ended(): void {
    this.#readers -= 1;
    this.#refused = false;
  }

  #limited(reader: EntryReader): EntryReader {
    const { head, log, settings, world } = this.#parts;
    const taken = { bytes: 0 };
    let ending: Error | null = null;
    let open = true;
    const close = (): void => {
      if (!open) return;
      open = false;
      hold.stop();
      this.#ended();
      reader.close();
    };
    const hold = new Hold({
      world,
      held: () => reader.heldBytes(),
      taken: () => taken.bytes,
      limits: { hard: () => Math.max(settings.outputLimitBytes, head.backlog.size) },
      othersWait: () => this.#refused,
      end: (_, detail) => {
        ending = new Error(`the export has been ended: ${detail}`);
        log.warn('export-ended', { detail });
        close();
      },
    });
    return {
      position: reader.position,
      count: (turns) => reader.count(turns),
      heldBytes: () => reader.heldBytes(),
      groups: liveEntries(reader.groups, world, taken, () => ending),
      close,
    };
  }
}

/**
 * Yields the entries that have not expired when the export begins, and counts what the client takes. Lets the event loop handle
 * other events even if the client takes everything at once.
 * @param ending returns the error with which this node has ended the export; null: it has not
 */
async function* liveEntries(
  groups: AsyncIterable<readonly ListedEntry[]>,
  world: World,
  taken: { bytes: number },
  ending: () => Error | null,
): AsyncGenerator<readonly ListedEntry[]> {
  const now = world.now();
  const turns = new Turns(world);
  for await (const group of groups) {
    yield group.filter((entry) => isLive(entry, now));
    for (const { key, size } of group) taken.bytes += key.length + size;
    await turns.next();
  }
  // A closed reader yields no more groups, like a finished one. The error keeps the client from taking a part for the whole.
  const why = ending();
  if (why !== null) throw why;
}
