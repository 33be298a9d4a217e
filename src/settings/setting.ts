/** The type of an entry in the table of settings, the spellings of its name, and functions that make the usual kinds of entries. */
import { between, parseSize, parseTime, parseWhole, trueOrFalse } from './parse.ts';

/** An entry of the table of settings. The key of the entry is the name of the setting. */
export interface Setting<T = unknown> {
  /** Word after the flag in `--help`; null: the flag takes no value. */
  readonly placeholder: string | null;
  /** The default, as users would write it; null: the setting has no value. */
  readonly initial: string | null;
  /** @throws UsageError that says what the setting expects, its bounds included */
  readonly parse: (text: string) => T;
  /** Line for `--help` and docs/settings.md. */
  readonly help: string;
  /** Whether `PATCH /v1/config` and a reload may change it while the node runs. */
  readonly isLive: boolean;
  /** JSON Schema of the value in the answers of `/v1/config`; null: `/v1/config` does not show the setting. */
  readonly schema: object | null;
  /** Name under which the node reads the value each time that it needs it: a member of `NodeSettings`. */
  readonly node?: string;
  /** Marks a flag that users may repeat: it then means the same as one flag with all values separated by commas. */
  readonly isList?: true;
  /** @returns the value as answers of `/v1/config` show it; absent: they show the value itself */
  readonly show?: (value: never) => unknown;
  /** Name of a setting that must not be smaller than this one. */
  readonly atMost?: string;
  /** Names of settings without which this one means nothing. */
  readonly needs?: readonly string[];
  /** Names of settings of which one has to be given, or this one has no effect: a warning, and no reason not to start. */
  readonly idleWithout?: readonly string[];
}

/** @returns the flag of the setting: `--backlog-size` for `backlogSize` */
export function flagOf(name: string): string {
  return `--${name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;
}

/** @returns the environment variable of the setting: `PSYNCD_BACKLOG_SIZE` for `backlogSize` */
export function variableOf(name: string): string {
  return `PSYNCD_${name.replace(/[A-Z]/g, (letter) => `_${letter}`).toUpperCase()}`;
}

/** Description of a setting that only a start can set. */
export const FIXED = 'Fixed while running.';
/** Schema of a whole number without a unit. */
export const COUNT = { type: 'integer', minimum: 0 } as const;
const BYTES = { type: 'integer', minimum: 1, description: 'Bytes.' } as const;
const MILLISECONDS = { type: 'integer', minimum: 1, description: 'Milliseconds.' } as const;

/** A size in bytes, from `least` to `most`. */
export function size(initial: string, least: string, most: string) {
  return { placeholder: 'SIZE', initial, parse: between(parseSize, least, most), schema: BYTES };
}

/** A time in milliseconds, from `least` to `most`. */
export function time(initial: string, least: string, most: string) {
  return { placeholder: 'TIME', initial, parse: between(parseTime, least, most), schema: MILLISECONDS };
}

/** A whole number, from `least` to `most`. */
export function count(initial: string, least: string, most: string) {
  return { placeholder: 'N', initial, parse: between(parseWhole, least, most), schema: COUNT };
}

/** A flag without a value, which is off unless the user gives it. */
export function toggle() {
  return { placeholder: null, initial: 'false', parse: trueOrFalse };
}
