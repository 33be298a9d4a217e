/** Settings as users write them: their names in any spelling, and their values with units. */
import { SETTINGS } from '../../settings/table.ts';

const SIZE_UNITS = [
  ['gb', 1024 ** 3],
  ['mb', 1024 ** 2],
  ['kb', 1024],
  ['b', 1],
] as const;
const TIME_UNITS = [
  ['h', 3_600_000],
  ['m', 60_000],
  ['s', 1_000],
  ['ms', 1],
] as const;

/**
 * @param spelling `logLevel`, `log-level`, `--log-level` or `PSYNCD_LOG_LEVEL`
 * @returns the name in the config file; the spelling itself if there is no such setting
 */
export function settingNamed(spelling: string): string {
  const plain = plainOf(spelling.replace(/^PSYNCD_/, ''));
  return SETTINGS.find(({ name }) => plainOf(name) === plain)?.name ?? spelling;
}

function plainOf(text: string): string {
  return text.replace(/[-_]/g, '').toLowerCase();
}

/**
 * @param value as `/v1/config` has it
 * @returns a text that `psyncd config set`, a flag and the config file take
 */
export function settingText(name: string, value: unknown): string {
  const setting = SETTINGS.find((each) => each.name === name);
  if (Array.isArray(value)) return value.map((each) => settingText('', each)).join(',');
  if (value === 'any' && setting?.isList === true) return '*';
  if (typeof value === 'number' && value > 0 && setting?.placeholder === 'TIME')
    return scaled(value, TIME_UNITS);
  if (typeof value === 'number' && value > 0 && setting?.placeholder === 'SIZE')
    return scaled(value, SIZE_UNITS);
  return typeof value === 'string' ? value : JSON.stringify(value);
}

/** @returns the number in the largest unit in which it is whole */
function scaled(value: number, units: readonly (readonly [string, number])[]): string {
  const [unit, size] = units.find(([, size]) => value % size === 0) ?? ['', 1];
  return `${value / size}${unit}`;
}
