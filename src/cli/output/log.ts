/** A node's log on standard error: text for people on a terminal, JSON lines otherwise. */
import { write, writeSync } from 'node:fs';
import pino from 'pino';
import type { Log } from '../../node/ports/world.ts';
import type { LogLevel } from '../../settings/table.ts';
import { printable } from './printable.ts';

/** The file descriptor of standard error. */
const STANDARD_ERROR = 2;
/**
 * Size of the log that waits while standard error takes nothing, because its disk is full or its reader has stopped, in
 * bytes. Further lines are dropped.
 */
const MAX_WAITING_BYTES = 1024 * 1024;

/**
 * @param level the least important level to write
 * @returns a log whose writes never fail or block: the node keeps serving when its log cannot be written
 */
export async function createLog(level: LogLevel): Promise<Log> {
  const output = new PatientOutput();
  // `process.exit` waits for no output, and the last lines give its reason.
  process.on('exit', () => output.flush());
  const logger = process.stderr.isTTY
    ? pino({ level, base: null }, await readable(output))
    : pino({ level, base: null, timestamp: pino.stdTimeFunctions.isoTime }, output);
  // JSON lines are data; on a terminal, text from peers must not act as commands.
  const shown = process.stderr.isTTY ? printableFields : (fields: object): object => fields;
  return {
    info: (event, fields = {}) => logger.info(shown(fields), event),
    warn: (event, fields = {}) => logger.warn(shown(fields), event),
    error: (event, fields = {}) => logger.error(shown(fields), event),
  };
}

/**
 * Writes lines to standard error on Node's thread pool, one write at a time. It replaces Pino's own destination, whose
 * error on a full disk ends the process, and whose final flush tries for ever.
 */
class PatientOutput {
  #waiting: Buffer[] = [];
  #waitingBytes = 0;
  #isWriting = false;

  write(line: string): void {
    const bytes = Buffer.from(line);
    if (this.#waitingBytes + bytes.length > MAX_WAITING_BYTES) return;
    this.#waiting.push(bytes);
    this.#waitingBytes += bytes.length;
    if (!this.#isWriting) this.#writeAll();
  }

  /** Writes the waiting lines, in one attempt. */
  flush(): void {
    try {
      writeSync(STANDARD_ERROR, Buffer.concat(this.#waiting));
    } catch {
      // There is no other place to report the error.
    }
  }

  #writeAll(): void {
    const bytes = Buffer.concat(this.#waiting);
    this.#waiting = [];
    this.#waitingBytes = 0;
    this.#isWriting = true;
    write(STANDARD_ERROR, bytes, (error, written) => {
      this.#isWriting = false;
      // An error loses these lines; later lines are tried again.
      if (error === null && written < bytes.length) {
        const rest = bytes.subarray(written);
        this.#waiting.unshift(rest);
        this.#waitingBytes += rest.length;
      }
      if (this.#waiting.length > 0) this.#writeAll();
    });
  }
}

/** @returns a destination that turns JSON lines into text for people */
async function readable(output: PatientOutput): Promise<{ write(line: string): void }> {
  // Loaded only for a terminal, because a node starts faster without it.
  const { prettyFactory } = (await import('pino-pretty')).default;
  const format = prettyFactory({ colorize: true, translateTime: 'SYS:HH:MM:ss.l' });
  return { write: (line) => output.write(format(JSON.parse(line)) ?? '') };
}

/** @returns the same fields with all text made printable; pino-pretty lets C1 controls and the like through */
export function printableFields(fields: object): object {
  return Object.fromEntries(Object.entries(fields).map(([name, value]) => [name, printableValue(value)]));
}

function printableValue(value: unknown): unknown {
  if (typeof value === 'string') return printable(value);
  if (Array.isArray(value)) return value.map(printableValue);
  return typeof value === 'object' && value !== null ? printableFields(value) : value;
}
