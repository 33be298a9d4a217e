/**
 * The settings of `psyncd serve`, one entry each. The command line, the environment, the config file, `/v1/config` with its
 * schemas, the node's settings and docs/settings.md all follow from the entries in `entries/`.
 *
 * Each setting has one name in three spellings: `--backlog-size`, `PSYNCD_BACKLOG_SIZE`, and `"backlogSize"` in the config
 * file. `--help` and `/v1/config` show the settings in this order: first those that only a start can set.
 */
import { ACCESS } from './entries/access.ts';
import { ARCHIVE } from './entries/archive.ts';
import { BACKUP } from './entries/backup.ts';
import { RUNNING } from './entries/running.ts';
import { STARTING } from './entries/starting.ts';
import { TLS } from './entries/tls.ts';
import type { Setting } from './setting.ts';

const TABLE = { ...STARTING, ...ACCESS, ...TLS, ...BACKUP, ...ARCHIVE, ...RUNNING };

type Table = typeof TABLE;
export type SettingName = keyof Table;

/** The values of all settings, by name. */
export type Settings = {
  readonly [Name in SettingName]:
    | ReturnType<Table[Name]['parse']>
    | (Table[Name]['initial'] extends null ? null : never);
};

/** The values of the settings of TLS for the listener. */
export type TlsSettings = {
  readonly [Name in SettingName as Name extends `tls${string}` ? Name : never]: Settings[Name];
};

/** The values of the settings for connections to a master. */
export type UpstreamSettings = {
  readonly [Name in SettingName as Name extends `upstream${string}` ? Name : never]: Settings[Name];
};

/** The values of `NodeSettings`, by the names in it. */
export type NodeValues = {
  [Name in SettingName as Table[Name] extends { readonly node: infer N extends string }
    ? N
    : never]: Settings[Name];
};

export type LogLevel = Settings['logLevel'];

/** A setting with its name. */
export interface NamedSetting extends Setting {
  readonly name: SettingName;
}

/** Every setting, in the order of the table. */
export const SETTINGS: readonly NamedSetting[] = Object.entries<Setting>(TABLE).map(([name, setting]) => ({
  name: name as SettingName,
  ...setting,
}));

/** @returns the values as `/v1/config` shows them: of all settings that openapi.yaml names */
export function shown(settings: Settings): Readonly<Record<string, unknown>> {
  const visible = SETTINGS.filter(({ schema }) => schema !== null);
  return Object.fromEntries(
    visible.map(({ name, show }) => [
      name,
      show === undefined || settings[name] === null ? settings[name] : show(settings[name] as never),
    ]),
  );
}
