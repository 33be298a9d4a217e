/** JSON Schemas of `/v1/config`, which follow from the table of settings. */
import { SETTINGS, type Settings, shown } from '../../../settings/table.ts';

const described = SETTINGS.flatMap(({ name, schema }) => (schema === null ? [] : [[name, schema] as const]));
const NAMES = described.map(([name]) => name);

/** The defaults, as `/v1/config` answers them. */
const defaults = shown(
  Object.fromEntries(
    SETTINGS.map(({ name, initial, parse }) => [name, initial === null ? null : parse(initial)]),
  ) as unknown as Settings,
);

export const config = {
  $id: 'Config',
  examples: [Object.fromEntries(NAMES.map((name) => [name, defaults[name]]))],
  type: 'object',
  // The published openapi.yaml names `fsync` first.
  required: ['fsync', ...NAMES.filter((name) => name !== 'fsync')],
  properties: Object.fromEntries(described),
} as const;

export const configPatch = {
  $id: 'ConfigPatch',
  examples: [{ replTimeout: '30s', overlaySize: 134_217_728, backlogSize: 'auto:120s' }],
  type: 'object',
  description:
    'What is not named stays. A change lasts until the node stops. Others can only be set at the start.',
  minProperties: 1,
  properties: Object.fromEntries(
    SETTINGS.filter(({ isLive, schema }) => isLive && schema !== null).map(({ name }) => [
      name,
      {
        type: ['integer', 'string', 'boolean'] as const,
        description: 'As on the command line: a number, text with a unit (`2mb`, `5s`), true or false.',
      },
    ]),
  ),
} as const;
