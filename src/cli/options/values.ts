/** Values of flags and arguments that several commands take. */
import { parsePosition } from '../../client/position.ts';
import { type Position, parsePosition as parseStrictly } from '../../replication/position.ts';
import {
  type BackupKeep,
  backupKeep,
  between,
  parseTime,
  parseWhole,
  UsageError,
} from '../../settings/parse.ts';

/**
 * @param name of the flag
 * @returns milliseconds
 * @throws UsageError that names the flag
 */
export function timeFlag(name: string, text: string): number {
  return ofFlag(name, text, between(parseTime, '100ms', '1h'));
}

/**
 * @param name of the flag
 * @returns an integer from 0 on
 * @throws UsageError that names the flag
 */
export function wholeFlag(name: string, text: string): number {
  return ofFlag(name, text, parseWhole);
}

/**
 * @param name of the flag
 * @returns which backups stay
 * @throws UsageError that names the flag
 */
export function keepFlag(name: string, text: string): readonly BackupKeep[] {
  return ofFlag(name, text, backupKeep);
}

/** @throws UsageError that names the flag and the text */
function ofFlag<T>(name: string, text: string, parse: (text: string) => T): T {
  try {
    return parse(text);
  } catch (error) {
    if (!(error instanceof UsageError)) throw error;
    throw new UsageError(`${name}: ${error.message}, got ${JSON.stringify(text)}`);
  }
}

/**
 * Refuses what is no position.
 * @param name as shown to the user
 * @param others other accepted values
 * @throws UsageError
 */
export function checkPosition(name: string, position: string, others = ''): void {
  if (parsePosition(position) !== null) return;
  throw new UsageError(`${name}: expected <run ID>:<offset>${others}, got ${JSON.stringify(position)}`);
}

/** A date, a time and where on the earth that is so; without the last, nobody knows which moment is meant. */
const MOMENT = /^\d{4}-\d\d-\d\dT\d\d:\d\d(?::\d\d(?:\.\d{1,3})?)?(?:Z|[+-]\d\d:\d\d)$/;

/**
 * @param name of the flag
 * @returns milliseconds since 1970
 * @throws UsageError that names the flag
 */
export function momentFlag(name: string, text: string): number {
  const at = MOMENT.test(text) ? Date.parse(text) : Number.NaN;
  if (!Number.isNaN(at)) return at;
  throw new UsageError(`${name}: expected a time such as 2026-11-29T05:00:00Z, got ${JSON.stringify(text)}`);
}

/**
 * @param name of the argument
 * @returns milliseconds since 1970; null: it is a position
 * @throws UsageError that names the argument
 */
export function momentOrPosition(name: string, text: string): number | null {
  if (MOMENT.test(text)) return momentFlag(name, text);
  checkPosition(name, text, ', or a time such as 2026-11-29T05:00:00Z');
  return null;
}

/**
 * @param name of the flag
 * @throws UsageError that names the flag
 */
export function positionFlag(name: string, text: string): Position {
  const position = parseStrictly(text);
  if (position !== null) return position;
  throw new UsageError(`${name}: expected <run ID>:<offset>, got ${JSON.stringify(text)}`);
}
