/** The log of a node: to standard error, for people on a terminal, as JSON lines everywhere else. */
import { write, writeSync } from 'node:fs';
import pino from 'pino';
import type { LogLevel } from '../config.ts';
import type { Log } from '../node/ports.ts';
import { printable } from './printable.ts';

/** The file descriptor of standard error. */
const STANDARD_ERROR = 2;
/**
 * How much of the log waits while standard error takes nothing, in bytes: its disk is full, or the program that reads it has
 * stopped. Further lines are dropped.
 */
const MAX_WAITING_BYTES = 1024 * 1024;

/**
 * @param level the least important lines that are written
 * @returns a log whose writes neither fail nor wait: the node serves on when its log cannot be written
 */
export async function createLog(level: LogLevel): Promise<Log> {
  const output = new PatientOutput();
  // `process.exit` waits for nothing, and the last lines say why it was called.
  process.on('exit', () => output.flush());
  const logger = process.stderr.isTTY
    ? pino({ level, base: null }, await readable(output))
    : pino({ level, base: null, timestamp: pino.stdTimeFunctions.isoTime }, output);
  // JSON lines are data; on a terminal what peers have said must not act.
  const shown = process.stderr.isTTY ? printableFields : (fields: object): object => fields;
  return {
    info: (event, fields = {}) => logger.info(shown(fields), event),
    warn: (event, fields = {}) => logger.warn(shown(fields), event),
    error: (event, fields = {}) => logger.error(shown(fields), event),
  };
}

/**
 * Writes lines to standard error on a thread of Node's pool, one write at a time. Pino's own destination is not used: when the
 * disk is full, its error ends the process, and its flush at the end tries for ever.
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

  /** Writes what waits, in one try. */
  flush(): void {
    try {
      writeSync(STANDARD_ERROR, Buffer.concat(this.#waiting));
    } catch {
      // Nobody is left who could be told.
    }
  }

  #writeAll(): void {
    const bytes = Buffer.concat(this.#waiting);
    this.#waiting = [];
    this.#waitingBytes = 0;
    this.#isWriting = true;
    write(STANDARD_ERROR, bytes, (error, written) => {
      this.#isWriting = false;
      // After an error these lines are lost; the ones behind them are tried anew.
      if (error === null && written < bytes.length) {
        const rest = bytes.subarray(written);
        this.#waiting.unshift(rest);
        this.#waitingBytes += rest.length;
      }
      if (this.#waiting.length > 0) this.#writeAll();
    });
  }
}

/** @returns a destination for lines of JSON that passes them on as text for people */
async function readable(output: PatientOutput): Promise<{ write(line: string): void }> {
  // Loaded only for a terminal: a node starts sooner without.
  const { prettyFactory } = (await import('pino-pretty')).default;
  const format = prettyFactory({ colorize: true, translateTime: 'SYS:HH:MM:ss.l' });
  return { write: (line) => output.write(format(JSON.parse(line)) ?? '') };
}

/** @returns the same fields, with all text in them printable: pino-pretty lets C1 controls and the like through */
export function printableFields(fields: object): object {
  return Object.fromEntries(Object.entries(fields).map(([name, value]) => [name, printableValue(value)]));
}

function printableValue(value: unknown): unknown {
  if (typeof value === 'string') return printable(value);
  if (Array.isArray(value)) return value.map(printableValue);
  return typeof value === 'object' && value !== null ? printableFields(value) : value;
}
