/**
 * A backup that grows: a data folder of its own, made of a backup, which takes the stream after it as a node does, by the same head
 * and the same applier. In the end it becomes a backup of the position that it has reached.
 */
import { mkdir, rename, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { StreamHead } from '../../node/head/stream-head.ts';
import type { RoomCheck } from '../../node/ports/backup-target.ts';
import type { Log } from '../../node/ports/world.ts';
import type { History } from '../../replication/history.ts';
import type { Position } from '../../replication/position.ts';
import { systemWorld } from '../../runtime/system-world.ts';
import { StreamDecoder } from '../../stream/decoder.ts';
import { type OpenFolder, openDataFolder } from '../data-folder.ts';
import { STATE_FILE } from '../folder-names.ts';
import { isGuarded, noteGuarded } from '../guard-file.ts';
import { OpenFiles } from '../open-files.ts';
import { StateFile } from '../state/state-file.ts';
import { BackupError } from './backup-error.ts';
import { copyEntries } from './copy-entries.ts';
import { decoded, HistoryHasher } from './history-hasher.ts';
import type { Manifest } from './manifest.ts';
import { ROOM_BYTES } from './room.ts';
import type { Report } from './seal.ts';
import { sealFile } from './seal-file.ts';

/** Settings of a head whose journal nobody needs once its commands are in the keyspace file. */
const HEAD = {
  backlogBytes: 64 * 1024,
  overlayBytes: 64 * 1024 * 1024,
  applyIntervalMs: 60_000,
  journalKeepBytes: 0,
  journalKeepMs: null,
};
const SILENT: Log = {
  debug: () => undefined,
  info: () => undefined,
  warn: () => undefined,
  error: () => undefined,
};

/** The first failure of the folder, and a promise that rejects with it. */
class Failure {
  readonly happened: Promise<never>;
  #reject: (error: Error) => void = () => undefined;
  #first: Error | null = null;

  constructor() {
    this.happened = new Promise((_, reject) => {
      this.#reject = reject;
    });
    this.happened.catch(() => undefined);
  }

  readonly failed = (error: Error): void => {
    this.#first ??= error;
    this.#reject(this.#first);
  };

  /** A log that takes errors for failures: a node would try again later, and nobody waits for that here. */
  get log(): Log {
    return {
      ...SILENT,
      error: (event, fields) => this.failed(new BackupError(`${event}: ${fields?.error}`)),
    };
  }

  check(): void {
    if (this.#first !== null) throw this.#first;
  }
}

export class GrowingBackup {
  readonly #path: string;
  readonly #folder: OpenFolder;
  readonly #head: StreamHead;
  readonly #decoder = new StreamDecoder();
  readonly #failure: Failure;
  readonly #room: RoomCheck | null;
  /** Bytes of the stream since the last look at the room. */
  #unlooked = 0;
  #closed = false;

  private constructor(
    path: string,
    folder: OpenFolder,
    head: StreamHead,
    failure: Failure,
    room: RoomCheck | null,
  ) {
    this.#room = room;
    this.#path = path;
    this.#folder = folder;
    this.#head = head;
    this.#failure = failure;
  }

  /**
   * @param base a checked backup
   * @param history that the backup belongs to, by its run ID or by that of an ancestor
   * @param path for the data folder, where nothing is
   * @param room is asked before the folder grows
   */
  static async begin(
    base: string,
    { position, hash, guarded }: Pick<Manifest, 'position' | 'hash' | 'guarded'>,
    history: History,
    path: string,
    room: RoomCheck | null = null,
  ): Promise<GrowingBackup> {
    await room?.(path, (await stat(base)).size);
    await mkdir(path, { mode: 0o700 });
    const settings = { fsync: 'no', bootId: null, newRunId: () => history.runId, upstream: null } as const;
    const open = new OpenFiles(SILENT);
    const state = StateFile.open(join(path, STATE_FILE), SILENT, settings, open, () => undefined);
    try {
      await copyEntries(base, join(path, 'keyspace-1.db'), position, history.runId);
      state.switchKeyspace(1, history, null, { offset: position.offset, hash });
      state.save({ copySettled: true });
      if (guarded) await noteGuarded(path);
    } finally {
      state.close(true);
      open.close();
    }
    const failure = new Failure();
    const { failed } = failure;
    const folder = await openDataFolder(path, SILENT, { ...settings, mayBeginAnew: false }, failed);
    try {
      const head = StreamHead.recover({
        world: systemWorld,
        log: failure.log,
        settings: HEAD,
        state: folder.state,
        keyspace: folder.keyspace,
        freeBytes: () => Promise.resolve(Number.POSITIVE_INFINITY),
        failed,
      });
      return new GrowingBackup(path, folder, head, failure, room);
    } catch (error) {
      await folder.close();
      throw error;
    }
  }

  get position(): Position {
    return this.#head.position;
  }

  get offset(): number {
    return this.#head.offset;
  }

  /** The history hash at the position; null: unknown. */
  get hash(): bigint | null {
    return this.#head.hash;
  }

  /** Takes over the history hash at the position; a chain of hashes begins there. */
  adoptHash(hash: bigint): void {
    this.#head.adoptHash(hash);
  }

  /** @returns what hashes bytes that are not applied, from an offset on; its hash there is null if it is unknown */
  hasher(offset: number, hash: bigint | null): HistoryHasher {
    return new HistoryHasher({ offset, hash });
  }

  /**
   * Takes the next bytes of the stream. The position moves to the end of the last whole command in them.
   * @throws NoStream, BackupError when the disk does not take the entries, or what the look at the room throws
   */
  async push(bytes: Buffer): Promise<void> {
    this.#unlooked += bytes.length;
    if (this.#unlooked >= ROOM_BYTES) {
      await this.#room?.(this.#path, this.#unlooked);
      this.#unlooked = 0;
    }
    const run = decoded(this.#decoder, bytes, this.offset);
    if (run === null) return;
    this.#failure.check();
    while (this.#head.full) {
      const room = new Promise<void>((resolve) => this.#head.whenRoom(resolve));
      await Promise.race([room, this.#failure.happened]);
    }
    this.#head.commit(run);
  }

  /**
   * Writes everything into the backup, and closes the folder.
   * @param into path of the backup, where no file is
   * @param version of this psyncd
   * @param commitTime when the last write was committed, in milliseconds since 1970
   */
  async finish(into: string, version: string, commitTime: number, report?: Report): Promise<Manifest> {
    const { hash, position } = this;
    const { lineage } = this.#head.history;
    await this.#close();
    this.#failure.check();
    const file = join(this.#path, 'keyspace-1.db');
    const manifest = await sealFile(
      file,
      { version, position, lineage, commitTime, hash, guarded: isGuarded(this.#path) },
      report,
    );
    await rename(file, into);
    return manifest;
  }

  /** Removes the folder. */
  async discard(): Promise<void> {
    await this.#close().catch(() => undefined);
    await rm(this.#path, { recursive: true, force: true });
  }

  async #close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    await this.#head.close();
    await this.#folder.close();
  }
}
