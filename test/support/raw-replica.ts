/** A replica that says only what the test tells it to, over a real WebSocket. */
import { once } from 'node:events';
import type { TestContext } from 'node:test';
import { WebSocket } from 'ws';
import type { ChildNode } from '../../src/cli/child-node.ts';
import { until } from '../../src/cli/until.ts';
import { array } from '../../src/stream/encoder.ts';

export class RawReplica {
  readonly socket: WebSocket;
  /** All that came, in order. */
  #received: Buffer[] = [];
  #receivedBytes = 0;
  /** How it was closed. */
  closed: { readonly code: number; readonly reason: string } | null = null;

  private constructor(socket: WebSocket) {
    this.socket = socket;
    socket.on('error', () => undefined);
    socket.on('message', (data: Buffer) => {
      this.#received.push(data);
      this.#receivedBytes += data.length;
    });
    socket.on('close', (code, reason) => {
      this.closed = { code, reason: reason.toString('utf8') };
    });
  }

  static async connect(t: TestContext, node: ChildNode): Promise<RawReplica> {
    const socket = new WebSocket(`${node.wsUrl}/v1/replication/stream`, 'psync.v1');
    const replica = new RawReplica(socket);
    t.after(() => socket.terminate());
    await once(socket, 'open');
    return replica;
  }

  get receivedBytes(): number {
    return this.#receivedBytes;
  }

  /** What has come so far. */
  get received(): Buffer {
    return Buffer.concat(this.#received, this.#receivedBytes);
  }

  say(...words: readonly string[]): void {
    this.socket.send(Buffer.from(array(words), 'utf8'));
  }

  /** Waits until so many bytes have come, and takes them out. */
  async take(bytes: number): Promise<Buffer> {
    await until(`${bytes} bytes have come`, () => this.#receivedBytes >= bytes);
    return this.#cut(bytes);
  }

  /** Waits for the next line, and takes it out, without its line end. */
  async line(): Promise<string> {
    const end = await until('a line has come', () => {
      const at = this.received.indexOf('\n');
      return at === -1 ? null : at + 1;
    });
    return this.#cut(end).toString('latin1').trimEnd();
  }

  /** Reads nothing more once so many bytes have come in all: a poll would notice that many bytes later. */
  async pauseAfter(bytes: number): Promise<void> {
    const { socket } = this;
    await new Promise<void>((resolve) => {
      const pause = (): void => {
        if (this.#receivedBytes < bytes) return;
        socket.off('message', pause);
        socket.pause();
        resolve();
      };
      socket.on('message', pause);
    });
  }

  async whenClosed(): Promise<{ readonly code: number; readonly reason: string }> {
    return until('the connection is closed', () => this.closed);
  }

  #cut(bytes: number): Buffer {
    const all = this.received;
    this.#received = [all.subarray(bytes)];
    this.#receivedBytes = all.length - bytes;
    return all.subarray(0, bytes);
  }
}
