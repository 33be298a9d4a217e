/**
 * A compressed frame of zstd. Another thread compresses, and the memory is that of the compressed bytes. The length of the frame tells how
 * much the bytes of all writers repeat each other.
 */
import { constants, createZstdCompress, type ZstdCompress } from 'node:zlib';
import type { Frame } from './frame.ts';

export class CompressedFrame implements Frame {
  readonly #zstd: ZstdCompress;
  readonly #parts: Buffer[] = [];
  readonly #ended: Promise<void>;

  constructor() {
    this.#zstd = createZstdCompress({ params: { [constants.ZSTD_c_checksumFlag]: 1 } });
    this.#zstd.on('data', (part: Buffer) => this.#parts.push(part));
    this.#ended = new Promise((resolve, reject) => {
      this.#zstd.on('end', resolve);
      this.#zstd.on('error', reject);
    });
    this.#ended.catch(() => undefined);
  }

  async push(bytes: Buffer): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      this.#zstd.write(bytes, (error) => (error ? reject(error) : resolve()));
    });
  }

  async finish(): Promise<readonly Buffer[]> {
    this.#zstd.end();
    await this.#ended;
    return this.#parts;
  }

  close(): void {
    this.#zstd.destroy();
  }
}
