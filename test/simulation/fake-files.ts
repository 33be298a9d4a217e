/** The keyspace files of a fake disk: what `store/data-folder.ts` promises. */
import { crc32 } from 'node:zlib';
import { DamagedSnapshot, StorageError } from '../../src/node/ports/failures.ts';
import type { Keyspace } from '../../src/node/ports/keyspace.ts';
import type { KeyspaceFiles, SnapshotSink } from '../../src/node/ports/keyspace-files.ts';
import type { KeptFile } from '../../src/node/ports/state-store.ts';
import type { Position } from '../../src/replication/position.ts';
import type { Disk, KeyspaceImage } from './disk.ts';
import { FakeKeyspace } from './fake-keyspace.ts';
import { decodeImage, IMAGE_PART_BYTES } from './keyspace-image.ts';
import type { Life } from './process.ts';

/** How long opening, writing and renaming take, on average. */
const FILE_MS = 3;
/** How long a snapshot is checked: long enough for its connection to be cut meanwhile. */
const CHECK_MS = 40;

export class FakeFiles implements KeyspaceFiles {
  readonly schema = 1;
  readonly #disk: Disk;
  readonly #process: Life;
  readonly #blame: (what: string) => void;
  #lastNumber: number;

  constructor(disk: Disk, process: Life, blame: (what: string) => void) {
    this.#disk = disk;
    this.#process = process;
    this.#blame = blame;
    this.#lastNumber = Math.max(1, disk.row.keyspaceNumber);
  }

  async open(number: number): Promise<Keyspace> {
    await this.#process.pause(FILE_MS);
    return new FakeKeyspace(this.#disk, this.#process, number, this.#blame);
  }

  async receive(length: number): Promise<SnapshotSink> {
    this.#lastNumber += 1;
    const number = this.#lastNumber;
    await this.#process.pause(FILE_MS);
    this.#process.change('receive', () => undefined);
    return new FakeSink(this.#disk, this.#process, number, length);
  }

  async remove(number: number): Promise<void> {
    await this.#process.pause(FILE_MS);
    this.#process.change('remove', () => {
      if (number === this.#disk.row.keyspaceNumber) this.#blame('the current keyspace file was removed');
      this.#disk.files.delete(number);
    });
  }

  async keep({ keyspaceNumber, name, position }: KeptFile): Promise<void> {
    await this.#process.pause(FILE_MS);
    const image = this.#disk.files.get(keyspaceNumber);
    if (image === undefined || this.#disk.kept.has(name)) return;
    if (image.position.offset !== position.offset) {
      this.#blame(`${name} is at ${image.position.offset}, not where it was when it was replaced`);
    }
    this.#process.change('keep', () => {
      this.#disk.files.delete(keyspaceNumber);
      this.#disk.kept.set(name, image);
    });
  }

  async removeKept({ name }: KeptFile): Promise<void> {
    await this.#process.pause(FILE_MS);
    this.#process.change('remove', () => this.#disk.kept.delete(name));
  }

  /** What a crash has left of snapshots that were arriving, or of files that were replaced. */
  async removeAllBut(number: number): Promise<void> {
    for (const other of [...this.#disk.files.keys()]) if (other !== number) await this.remove(other);
  }
}

/** @throws DamagedSnapshot for bytes that are no snapshot */
function imageOf(bytes: Buffer, asSent: boolean): KeyspaceImage {
  try {
    return decodeImage(bytes);
  } catch (error) {
    throw new DamagedSnapshot(String(error), asSent);
  }
}

class FakeSink implements SnapshotSink {
  readonly keyspaceNumber: number;
  readonly #disk: Disk;
  readonly #process: Life;
  readonly #length: number;
  #parts: Buffer[] = [];

  constructor(disk: Disk, process: Life, keyspaceNumber: number, length: number) {
    this.#disk = disk;
    this.#process = process;
    this.keyspaceNumber = keyspaceNumber;
    this.#length = length;
  }

  async write(parts: readonly Buffer[]): Promise<void> {
    await this.#process.pause(FILE_MS);
    this.#process.change('receive', () => this.#parts.push(...parts));
  }

  async rewind(): Promise<{ readonly bytes: number; readonly crc32: number }> {
    await this.#process.pause(FILE_MS);
    const came = Buffer.concat(this.#parts);
    const whole = came.subarray(0, came.length - (came.length % IMAGE_PART_BYTES));
    this.#parts = [whole];
    return { bytes: whole.length, crc32: crc32(whole) };
  }

  async finish(expected: Position, sum: number | null): Promise<{ readonly empty: boolean }> {
    await this.#process.pause(CHECK_MS);
    const bytes = Buffer.concat(this.#parts);
    if (bytes.length !== this.#length) throw new Error(`${bytes.length} bytes came, not ${this.#length}`);
    if (sum !== null && crc32(bytes) !== sum) throw new Error('it is not what the master has sent');
    const image = imageOf(bytes, sum !== null);
    const { runId, offset } = image.position;
    if (runId !== expected.runId || offset !== expected.offset) {
      const told = `${expected.runId}:${expected.offset}`;
      throw new DamagedSnapshot(`it is at ${runId}:${offset}, announced was ${told}`, sum !== null);
    }
    return this.#process.change('finish', () => {
      if (this.#disk.files.has(this.keyspaceNumber))
        throw new StorageError('the file is there already', false);
      this.#disk.files.set(this.keyspaceNumber, image);
      return { empty: image.entries.size === 0 };
    });
  }

  async discard(): Promise<void> {
    await this.#process.pause(FILE_MS);
    this.#parts = [];
    this.#disk.files.delete(this.keyspaceNumber);
  }
}
