/** The log of a node: to standard error, for people on a terminal, as JSON lines everywhere else. */
import pino from 'pino';
import type { LogLevel } from '../config.ts';
import type { Log } from '../node/ports.ts';

export async function createLog(level: LogLevel): Promise<Log> {
  const logger = process.stderr.isTTY
    ? pino(
        { level, base: null },
        // Loaded only for a terminal: a node starts sooner without.
        (await import('pino-pretty')).default({
          destination: 2,
          sync: true,
          translateTime: 'SYS:HH:MM:ss.l',
        }),
      )
    : pino(
        { level, base: null, timestamp: pino.stdTimeFunctions.isoTime },
        pino.destination({ dest: 2, sync: true }),
      );
  return {
    info: (event, fields = {}) => logger.info(fields, event),
    warn: (event, fields = {}) => logger.warn(fields, event),
    error: (event, fields = {}) => logger.error(fields, event),
  };
}
