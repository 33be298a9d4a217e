/** A node's log on standard error: text for people on a terminal, JSON lines otherwise. */
import pino from 'pino';
import type { AppLog } from '../../runtime/app-log.ts';
import { LineOutput } from '../../runtime/line-output.ts';
import type { LogLevel } from '../../settings/table.ts';
import { printable } from './printable.ts';

/** The file descriptor of standard error. */
const STANDARD_ERROR = 2;
/**
 * @param level the least important level to write
 * @returns a log whose writes never fail or block: the node keeps serving when its log cannot be written
 */
export async function createLog(level: LogLevel): Promise<AppLog> {
  const output = new LineOutput(STANDARD_ERROR);
  // `process.exit` waits for no output, and the last lines give its reason.
  process.on('exit', () => output.flush());
  const logger = process.stderr.isTTY
    ? pino({ level, base: null }, await readable(output))
    : pino({ level, base: null, timestamp: pino.stdTimeFunctions.isoTime }, output);
  // JSON lines are data; on a terminal, text from peers must not act as commands.
  const shown = process.stderr.isTTY ? printableFields : (fields: object): object => fields;
  return {
    setLevel: (next) => {
      logger.level = next;
    },
    debug: (event, fields = {}) => {
      if (logger.isLevelEnabled('debug')) logger.debug(shown(fields), event);
    },
    info: (event, fields = {}) => logger.info(shown(fields), event),
    warn: (event, fields = {}) => logger.warn(shown(fields), event),
    error: (event, fields = {}) => logger.error(shown(fields), event),
  };
}

/** @returns a destination that turns JSON lines into text for people */
async function readable(output: LineOutput): Promise<{ write(line: string): void }> {
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
