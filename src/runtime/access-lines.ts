/** The file of `--access-log`: JSON lines, or none at all rather than a node that waits for its disk. */
import { accessSync, close, closeSync, constants, fstatSync, openSync, type Stats, statSync } from 'node:fs';
import { dirname } from 'node:path';
import { messageOf } from '../node/ports/failures.ts';
import type { Log } from '../node/ports/world.ts';
import { StartError } from '../store/start-error.ts';
import { LineOutput } from './line-output.ts';

/** Instead of a file: standard output. */
const STANDARD = '-';
const STANDARD_OUTPUT = 1;
/** Without waiting for the reader of a pipe. */
const FLAGS = constants.O_WRONLY | constants.O_CREAT | constants.O_APPEND | constants.O_NONBLOCK;
/** Longest time that the lines may take when the node stops, in milliseconds. */
const CLOSE_MS = 1_000;

export interface AccessLines {
  /** Writes one line, or loses it. */
  write(event: string, fields: object): void;
  /** Opens the file again, because the present one may have been renamed. If that fails, the present one stays. */
  reopen(): void;
  /** Resolves when the lines are written, or after a second. */
  close(): Promise<void>;
}

/**
 * @param path of the file, which is made if it is not there; `-`: standard output
 * @throws StartError of one line if it cannot be written
 */
export async function openAccessLines(path: string, log: Log): Promise<AccessLines> {
  const output = new LineOutput(opened(path), failures(log));
  const { pino } = await import('pino');
  const logger = pino({ base: null, timestamp: pino.stdTimeFunctions.isoTime }, output);
  let told = 0;
  process.on('exit', () => output.flush());
  return {
    write: (event, fields) => {
      logger.info(fields, event);
      if (output.lost === told) return;
      // If there is no room for this line either, the next one tells the number.
      const lines = output.lost - told;
      logger.warn({ lines }, 'lines-lost');
      if (output.lost === told + lines) told += lines;
    },
    reopen: () => {
      if (path === STANDARD) return;
      try {
        output.replace(opened(path));
      } catch (error) {
        log.error('access-log-not-reopened', {
          error: messageOf(error),
        });
      }
    },
    close: async () => {
      // It keeps the process running meanwhile: nothing else may.
      let timer: NodeJS.Timeout | undefined;
      const late = new Promise((resolve) => {
        timer = setTimeout(resolve, CLOSE_MS);
      });
      await Promise.race([output.idle(), late]);
      clearTimeout(timer);
    },
  };
}

/**
 * Finds what `openAccessLines` would refuse, and changes nothing.
 * @param path of the file; a symbolic link that leads nowhere has to be followed before
 * @throws StartError of one line
 */
export function checkAccessFile(path: string): void {
  if (path === STANDARD) return;
  try {
    const stats = statSync(path, { throwIfNoEntry: false });
    // The reader of a pipe would notice an attempt to open it. Opening a folder fails with a message of its own.
    if (stats !== undefined && !stats.isDirectory()) mustTakeLines(path, stats);
    if (stats !== undefined) closeSync(openSync(path, FLAGS & ~constants.O_CREAT));
    else if (path.endsWith('/')) throw new Error(`${path} is no file`);
    else accessSync(`${dirname(path)}/.`, constants.W_OK | constants.X_OK);
  } catch (error) {
    if (error instanceof StartError) throw error;
    throw new StartError(`--access-log: ${messageOf(error)}`);
  }
}

/** @throws StartError if it is neither a file nor a device of characters */
function mustTakeLines(path: string, stats: Stats): void {
  if (stats.isFile() || stats.isCharacterDevice()) return;
  throw new StartError(`--access-log: ${path} is no file; - is standard output`);
}

/** @returns the descriptor of the file */
function opened(path: string): number {
  if (path === STANDARD) return STANDARD_OUTPUT;
  let descriptor: number;
  try {
    descriptor = openSync(path, FLAGS, 0o600);
  } catch (error) {
    throw new StartError(`--access-log: ${messageOf(error)}`);
  }
  try {
    mustTakeLines(path, fstatSync(descriptor));
    return descriptor;
  } catch (error) {
    close(descriptor);
    throw error;
  }
}

/** @returns a function that logs each kind of failure once, until another kind comes */
function failures(log: Log): (error: NodeJS.ErrnoException) => void {
  let last: string | undefined;
  return ({ code, message }) => {
    if (code === last) return;
    last = code;
    log.error('access-log-not-written', { error: message });
  };
}
