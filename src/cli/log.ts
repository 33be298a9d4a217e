/** The log of a node: to standard error, for people on a terminal, as JSON lines everywhere else. */
import pino from 'pino';
import pretty from 'pino-pretty';
import type { LogLevel } from '../config.ts';
import type { Log } from '../node/ports.ts';

export function createLog(level: LogLevel): Log {
  const logger = process.stderr.isTTY
    ? pino({ level, base: null }, pretty({ destination: 2, sync: true, translateTime: 'SYS:HH:MM:ss.l' }))
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
