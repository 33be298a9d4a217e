/**
 * Exports: all live entries with a prefix, at one position, as fast as the client reads them.
 *
 * Owns: the limits on the number of exports at the same time, and the limit on the disk space that each of them holds.
 */
import { isLive } from '../../keyspace/entry.ts';
import type { ListedEntry } from '../../keyspace/page.ts';
import { ClientPlaces } from '../client-places.ts';
import type { StreamHead } from '../head/stream-head.ts';
import { countedGrowth, Hold } from '../hold.ts';
import type { EntryReader } from '../ports/keyspace.ts';
import type { Log, World } from '../ports/world.ts';
import { Problem } from '../problem.ts';
import { Turns } from '../turns.ts';

/** Largest number of exports at the same time, because each keeps the WAL from shrinking. */
const MAX_READERS = 8;
/** Largest number of exports of one client at the same time, so that others get some too. */
const MAX_CLIENT_READERS = 4;

/** The export held more of the disk than it may. */
export class ExportEnded extends Error {
  override readonly name = 'ExportEnded';
}

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
  readonly #places = new ClientPlaces(
    () => MAX_READERS,
    () => MAX_CLIENT_READERS,
  );
  /** Whether the node has refused an export since the last one ended, because of all exports. */
  #refused = false;
  /** Clients that it has refused one since their last one ended, because of their own exports. */
  readonly #refusedClients = new Set<string>();

  constructor(parts: ExportsParts) {
    this.#parts = parts;
  }

  /**
   * @param client name of the client, by which the limit of one client counts
   * @returns all live entries with the prefix
   * @throws Problem TOO_MANY_REQUESTS while `MAX_READERS` exports are going on, or `MAX_CLIENT_READERS` of this client
   */
  async read(prefix: string, client: string): Promise<EntryReader> {
    const refusal = this.#places.refusal(client);
    if (refusal === 'client') {
      this.#refusedClients.add(client);
      const detail = `${MAX_CLIENT_READERS} exports of this client are going on already`;
      throw new Problem('TOO_MANY_REQUESTS', detail);
    }
    if (refusal === 'all') {
      this.#refused = true;
      throw new Problem('TOO_MANY_REQUESTS', `${MAX_READERS} exports are going on already`);
    }
    const giveBack = this.#places.take(client);
    const ended = (): void => {
      giveBack();
      this.#refused = false;
      this.#refusedClients.delete(client);
    };
    try {
      return this.#limited(await this.#parts.head.readEntries([prefix]), client, ended);
    } catch (error) {
      ended();
      throw error;
    }
  }

  /** @param ended called when the reader is closed */
  #limited(reader: EntryReader, client: string, ended: () => void): EntryReader {
    const { head, log, settings, world } = this.#parts;
    const taken = { bytes: 0 };
    let ending: Error | null = null;
    let open = true;
    const close = (): void => {
      if (!open) return;
      open = false;
      hold.stop();
      ended();
      reader.close();
    };
    const hold = new Hold({
      world,
      held: () => countedGrowth(head.offset - reader.position.offset, reader.heldBytes()),
      taken: () => taken.bytes,
      limits: { hard: () => Math.max(settings.outputLimitBytes, head.backlog.size) },
      othersWait: () => this.#refused || this.#refusedClients.has(client),
      end: (_, detail) => {
        ending = new ExportEnded(`the export has been ended: ${detail}`);
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
