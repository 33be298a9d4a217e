/**
 * A keyspace file on a fake disk: what `store/keyspace/keyspace-file.ts` and its applier promise.
 *
 * The applier's thread does one thing after the other and answers in that order; both take time, and what is asked for
 * meanwhile comes in between. The main thread reads an older commit than the newest as long as its read transaction is
 * open: from its first read after a flush to the next answered flush.
 */
import { crc32 } from 'node:zlib';
import { type Entry, type Outline, outlineOf } from '../../src/keyspace/entry.ts';
import { compareKeys } from '../../src/keyspace/key.ts';
import type { Changes } from '../../src/keyspace/overlay/changes.ts';
import type { ListedEntry, Scan } from '../../src/keyspace/page.ts';
import type {
  Digest,
  DueCursor,
  EntryReader,
  FrozenFile,
  Keyspace,
  OpenDigest,
  Scrubbed,
  Sum,
} from '../../src/node/ports/keyspace.ts';
import type { Position } from '../../src/replication/position.ts';
import { StreamDecoder } from '../../src/stream/decoder.ts';
import type { Disk, KeyspaceImage } from './disk.ts';
import { addDigests, applyCommand, encodeImage, entryDigest, IMAGE_PART_BYTES } from './keyspace-image.ts';
import type { Life } from './process.ts';
import { written } from './written.ts';

/** How long the applier's thread takes for one thing, and a read of a file, on average; large files take longer. */
const WORK_MS = [2, 8, 8, 60];
const READ_MS = [1, 2, 30, 300];
const ANSWER_MS = 1;
const NOTHING = Buffer.alloc(0);

export class FakeKeyspace implements Keyspace {
  readonly opened: Position;
  readonly #disk: Disk;
  readonly #process: Life;
  readonly #number: number;
  readonly #blame: (what: string) => void;
  readonly #workMs: number;
  readonly #readMs: number;
  /** The commit that the main thread's read transaction sees. */
  #view: KeyspaceImage | null = null;
  #checkpoints = 0;
  #busyUntil = 0;
  #answeredUntil = 0;
  readonly #readings = new Set<Promise<unknown>>();
  /** The frozen file that nobody has thawed. */
  readonly #frozen = new Set<object>();
  #closed = false;
  /** Number of entry readers that are not closed. */
  openReaders = 0;

  constructor(disk: Disk, process: Life, number: number, blame: (what: string) => void) {
    this.#disk = disk;
    this.#process = process;
    this.#number = number;
    this.#blame = blame;
    this.#workMs = process.chance.of(WORK_MS);
    this.#readMs = process.chance.of(READ_MS);
    this.opened = this.#committed.position;
  }

  get #committed(): KeyspaceImage {
    const image = this.#disk.files.get(this.#number);
    if (image === undefined) throw new Error(`keyspace-${this.#number}.db is missing`);
    return image;
  }

  get(key: string): Entry | null {
    return this.#read().entries.get(key) ?? null;
  }

  outline(key: string): Outline | null {
    const entry = this.get(key);
    return entry === null ? null : outlineOf(entry);
  }

  expiry(key: string): number | null | undefined {
    return this.#read().entries.get(key)?.expiresAt;
  }

  readonly scan: Scan = ({ prefix, from, exclusive }, values) => {
    return listed(this.#read(), values).filter(({ key }) => {
      const order = compareKeys(key, from);
      return key.startsWith(prefix) && (exclusive ? order > 0 : order >= 0);
    });
  };

  due(now: number, after: DueCursor | null, limit: number): ReturnType<Keyspace['due']> {
    const rows = [...this.#read().entries]
      .flatMap(([key, { expiresAt }]) => (expiresAt === null || expiresAt > now ? [] : { expiresAt, key }))
      .sort((a, b) => a.expiresAt - b.expiresAt || compareKeys(a.key, b.key))
      .filter((row) => after === null || isAfter(row, after))
      .slice(0, limit);
    return { keys: rows.map(({ key }) => key), cursor: rows.at(-1) ?? null };
  }

  countDue(now: number, after: DueCursor | null, most: number): number {
    return this.due(now, after, most).keys.length;
  }

  readEntries(prefixes: readonly string[]): EntryReader {
    const image = this.#committed;
    let isOpen = true;
    let closed = (): void => undefined;
    void this.#tracked(
      new Promise<void>((resolve) => {
        closed = resolve;
      }),
    );
    this.openReaders += 1;
    return {
      position: image.position,
      groups: this.#groups(image, prefixes, () => isOpen),
      count: () => Promise.resolve(this.#count(image, prefixes)),
      heldBytes: () => 0,
      close: () => {
        if (isOpen) this.openReaders -= 1;
        isOpen = false;
        closed();
      },
    };
  }

  async flush(position: Position, changes: readonly Changes[]): Promise<void> {
    await this.#ask(this.#flushing(position, changes));
    this.#view = null;
    // The real one makes a checkpoint now if the WAL is large; all that is seen of that are other read transactions.
    this.#aside(() => undefined).catch(() => undefined);
  }

  async freeze(): Promise<FrozenFile> {
    const token = {};
    let { position } = this.#committed;
    let file: Buffer = NOTHING;
    await this.#ask(() => {
      this.#frozen.add(token);
      position = this.#committed.position;
      file = encodeImage(this.#committed);
    });
    return {
      position,
      length: file.length,
      partBytes: IMAGE_PART_BYTES,
      heldBytes: () => 0,
      read: (at, into) => this.#tracked(this.#readFrozen(token, file, at, into)),
      copyTo: () => {
        throw new Error('the simulation has no downloads');
      },
      crc32,
      release: () => {
        this.#ask(() => {
          this.#frozen.delete(token);
        }).catch(() => undefined);
      },
    };
  }

  async digest(): Promise<Digest> {
    const { position, entries } = this.#committed;
    return { position, ...sumOf(entries) };
  }

  async openDigest(): Promise<OpenDigest> {
    const { position, entries } = this.#committed;
    return {
      position,
      closed: Promise.resolve(),
      at: async (parts) => {
        const run = new StreamDecoder().push(Buffer.concat(parts));
        const later = new Map(entries);
        for (const command of run?.commands ?? []) applyCommand(later, command, 0);
        return sumOf(later);
      },
      close: () => undefined,
    };
  }

  async scrub(): Promise<Scrubbed> {
    return { finished: true, entries: this.#committed.entries.size };
  }

  size(): number {
    return encodeImage(this.#committed).length;
  }

  async close(): Promise<void> {
    await Promise.allSettled(this.#readings);
    const done = this.#ask(() => undefined);
    this.#closed = true;
    await done;
  }

  #count(image: KeyspaceImage, prefixes: readonly string[]): number {
    return [...image.entries.keys()].filter((key) => prefixes.some((prefix) => key.startsWith(prefix)))
      .length;
  }

  async *#groups(
    image: KeyspaceImage,
    prefixes: readonly string[],
    isOpen: () => boolean,
  ): AsyncGenerator<readonly ListedEntry[]> {
    for (const entry of listed(image, true)) {
      if (!isOpen()) return;
      if (!prefixes.some((prefix) => entry.key.startsWith(prefix))) continue;
      await this.#process.pause(this.#readMs);
      yield [entry];
    }
  }

  async #readFrozen(token: object, file: Buffer, at: number, into: Buffer): Promise<void> {
    await this.#process.pause(this.#readMs / 2);
    // From then on a checkpoint may write into the file.
    if (!this.#frozen.has(token)) this.#blame('a snapshot was read from a file that was thawed');
    file.copy(into, 0, at);
  }

  #read(): KeyspaceImage {
    if (this.#closed) throw new TypeError('the database connection is not open');
    if (this.#view === null && this.#checkpoints > 0) return this.#committed;
    this.#view ??= this.#committed;
    return this.#view;
  }

  async #aside(work: () => void): Promise<void> {
    this.#view = null;
    this.#checkpoints += 1;
    try {
      await this.#ask(work);
    } finally {
      this.#checkpoints -= 1;
    }
  }

  #flushing(position: Position, changes: readonly Changes[]): () => void {
    return () => this.#process.change('flush', () => this.#commit(position, changes));
  }

  #commit(position: Position, changes: readonly Changes[]): void {
    const committed = this.#committed;
    let { entries } = committed;
    for (const each of changes) {
      if (each.end <= committed.position.offset) continue;
      if (each.end > position.offset)
        this.#blame(`changes up to ${each.end} in a flush of ${position.offset}`);
      entries = written(entries, each);
    }
    this.#disk.files.set(this.#number, { position, entries });
  }

  /** Has the thread do something; rejects with what it throws. */
  #ask(work: () => void): Promise<void> {
    if (this.#closed) return Promise.reject(new Error('the applier has ended'));
    const { chance } = this.#process;
    const now = this.#process.elapsed;
    this.#busyUntil = Math.max(this.#busyUntil, now) + chance.delay(this.#workMs);
    this.#answeredUntil = Math.max(this.#answeredUntil, this.#busyUntil + chance.delay(ANSWER_MS));
    const answerMs = this.#answeredUntil - now;
    return new Promise((resolve, reject) => {
      let failure: unknown = null;
      this.#process.at(this.#busyUntil - now, () => {
        try {
          work();
        } catch (error) {
          failure = error;
        }
      });
      this.#process.at(answerMs, () => (failure === null ? resolve() : reject(failure)));
    });
  }

  #tracked<T>(reading: Promise<T>): Promise<T> {
    this.#readings.add(reading);
    const done = (): void => void this.#readings.delete(reading);
    reading.then(done, done);
    return reading;
  }
}

/** The digest of entries; it does not depend on versions, like that of a keyspace file. */
function sumOf(entries: ReadonlyMap<string, Entry>): Sum {
  let sum = 0;
  for (const [key, entry] of entries) sum = addDigests(sum, entryDigest(key, { ...entry, version: 0 }));
  return { keys: entries.size, digest: sum.toString(16).padStart(32, '0') };
}

function listed({ entries }: KeyspaceImage, values: boolean): ListedEntry[] {
  return [...entries]
    .map(([key, { value, version, expiresAt }]) => {
      return { key, version, size: value.length, expiresAt, value: values ? value : null };
    })
    .sort((a, b) => compareKeys(a.key, b.key));
}

function isAfter(row: DueCursor, cursor: DueCursor): boolean {
  if (row.expiresAt !== cursor.expiresAt) return row.expiresAt > cursor.expiresAt;
  return compareKeys(row.key, cursor.key) > 0;
}
