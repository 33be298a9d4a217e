/**
 * Writes the lines of a log on Node's thread pool, one write at a time: it never blocks, and never fails. It replaces Pino's own
 * destination, whose error on a full disk ends the process, and whose final flush tries for ever.
 */
import { close, write, writeSync } from 'node:fs';

/** Size of the lines that wait while the file takes nothing, in bytes. Further lines are lost. */
export const MAX_WAITING_BYTES = 1024 * 1024;
/** Time after which a pipe that was full is tried again, in milliseconds. */
const FULL_PIPE_MS = 20;
const NEWLINE = 0x0a;

export class LineOutput {
  #descriptor: number;
  readonly #failed: (error: NodeJS.ErrnoException) => void;
  #waiting: Buffer[] = [];
  #waitingBytes = 0;
  #isWriting = false;
  #lost = 0;
  /** Whether what the file has ends within a line whose rest is lost. */
  #isTorn = false;
  #endsLine = true;
  /** The file that takes the place of the present one after the present write. */
  #next: number | null = null;
  #whenIdle: (() => void)[] = [];

  /**
   * @param descriptor of the file
   * @param failed called for each write that fails; its lines are lost
   */
  constructor(descriptor: number, failed: (error: NodeJS.ErrnoException) => void = () => undefined) {
    this.#descriptor = descriptor;
    this.#failed = failed;
  }

  /** Number of lines that are lost so far: there was no room for them, or a write has failed. */
  get lost(): number {
    return this.#lost;
  }

  write(line: string): void {
    const bytes = Buffer.from(line);
    if (this.#waitingBytes + bytes.length > MAX_WAITING_BYTES) {
      this.#lost += 1;
      return;
    }
    this.#waiting.push(bytes);
    this.#waitingBytes += bytes.length;
    if (!this.#isWriting) this.#writeAll();
  }

  /** Goes on in another file, and closes the present one. */
  replace(descriptor: number): void {
    if (this.#next !== null) close(this.#next, ignored);
    this.#next = descriptor;
    if (!this.#isWriting) this.#writeAll();
  }

  /** Resolves once nothing waits. */
  async idle(): Promise<void> {
    if (!this.#isWriting) return;
    await new Promise<void>((resolve) => this.#whenIdle.push(resolve));
  }

  /** Writes the waiting lines, in one attempt: for the end of the process. */
  flush(): void {
    try {
      writeSync(this.#descriptor, Buffer.concat(this.#waiting));
    } catch {
      // There is no other place to report the error.
    }
  }

  #writeAll(): void {
    if (this.#next !== null) {
      close(this.#descriptor, ignored);
      this.#descriptor = this.#next;
      this.#next = null;
      this.#isTorn = false;
    }
    if (this.#waiting.length === 0) {
      this.#isWriting = false;
      for (const resolve of this.#whenIdle.splice(0)) resolve();
      return;
    }
    const bytes = Buffer.concat(this.#isTorn ? [Buffer.from('\n'), ...this.#waiting] : this.#waiting);
    this.#isTorn = false;
    this.#waiting = [];
    this.#waitingBytes = 0;
    this.#isWriting = true;
    write(this.#descriptor, bytes, (error, written) => this.#written(bytes, error, written));
  }

  #written(bytes: Buffer, error: NodeJS.ErrnoException | null, written: number): void {
    if (error?.code === 'EAGAIN') {
      this.#putBack(bytes);
      setTimeout(() => this.#writeAll(), FULL_PIPE_MS).unref();
      return;
    }
    if (error === null) {
      if (written > 0) this.#endsLine = bytes[written - 1] === NEWLINE;
      if (written < bytes.length) this.#putBack(bytes.subarray(written));
    } else {
      // Later lines are tried again.
      this.#lost += linesIn(bytes);
      this.#isTorn = !this.#endsLine;
      this.#failed(error);
    }
    this.#writeAll();
  }

  #putBack(bytes: Buffer): void {
    this.#waiting.unshift(bytes);
    this.#waitingBytes += bytes.length;
  }
}

/** A file that cannot be closed is no longer written to in any case. */
function ignored(): void {}

function linesIn(bytes: Buffer): number {
  let count = 0;
  for (let at = bytes.indexOf(NEWLINE); at !== -1; at = bytes.indexOf(NEWLINE, at + 1)) count += 1;
  return count;
}
