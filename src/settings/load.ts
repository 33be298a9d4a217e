/** Loads the settings: a flag beats the environment, which beats the config file, which beats the default. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { JsonError, parseJson } from '../keyspace/json/json.ts';
import { isRawJSON } from '../keyspace/json/json-number.ts';
import { messageOf } from '../node/ports/failures.ts';
import { readSmallFile } from '../runtime/small-file.ts';
import { formatAddress, isLoopback, UsageError } from './parse.ts';
import { flagOf, variableOf } from './setting.ts';
import { SETTINGS, type SettingName, type Settings } from './table.ts';

/**
 * @param flags values from the command line, by setting name
 * @param environment the process's variables
 * @param configFile the path of a JSON file, or null
 * @throws UsageError with one line for a setting that is unknown or cannot be used
 */
export function loadSettings(
  flags: Readonly<Record<string, string | undefined>>,
  environment: Readonly<Record<string, string | undefined>>,
  configFile: string | null,
): Settings {
  const file = configFile === null ? {} : readConfigFile(configFile);
  const values: Record<string, unknown> = {};
  for (const { name, initial, parse } of SETTINGS) {
    const [text, source] = first(
      [flags[name], flagOf(name)],
      // Unit files and containers pass an empty variable when the user gave it no value, so an empty one counts as not set.
      [environment[variableOf(name)] || undefined, variableOf(name)],
      [file[name], `"${name}" in ${configFile}`],
      [initial ?? undefined, 'the default'],
    );
    try {
      values[name] = text === null ? null : parse(text);
    } catch (error) {
      if (!(error instanceof UsageError)) throw error;
      throw new UsageError(`${source}: ${error.message}, got ${JSON.stringify(text)}`);
    }
  }
  const settings = values as unknown as Settings;
  const contradiction = contradictionIn(settings);
  if (contradiction !== null) throw new UsageError(contradiction);
  const hasTokens = takesSignedTokens(settings) || existsSync(tokensPath(settings));
  const tooOpen = opennessProblem(settings, hasTokens);
  if (tooOpen !== null) throw new UsageError(tooOpen);
  const twice = takenTwice(settings);
  if (twice !== null) {
    throw new UsageError(`${twice} names the address of another listener; give it another port`);
  }
  return settings;
}

/**
 * @param hasTokens whether clients need tokens of some kind
 * @returns why the node must not start with these settings, because it would be open or the settings are of no use; or null
 */
export function opennessProblem(settings: Settings, hasTokens: boolean): string | null {
  if (hasTokens) return null;
  if (settings.anonymousRights.length > 0) {
    return `--anonymous-rights is for a node with tokens, and there is no ${tokensPath(settings)}`;
  }
  const open = reachableAddress(settings);
  if (open === null || settings.tlsClientAuth === 'required' || settings.allowAnonymous) return null;
  return (
    `${open} lets everybody in who can reach it; psyncd token create makes a token that they then need, ` +
    'and --allow-anonymous says that they need none'
  );
}

/** @returns the flag of a listener whose address another one has; null: there is none */
function takenTwice({ adminListen, host, metricsListen, port }: Settings): string | null {
  const taken = new Set<string>();
  for (const [flag, address] of [
    ['--host', { host, port }],
    ['--admin-listen', adminListen],
    ['--metrics-listen', metricsListen],
  ] as const) {
    if (address === null || address.port === 0) continue;
    const text = formatAddress(address);
    if (taken.has(text)) return flag;
    taken.add(text);
  }
  return null;
}

/** @returns the flag and the address on which other machines may reach the node; null: there is none */
function reachableAddress({ adminListen, host, metricsListen }: Settings): string | null {
  const open = [
    ['--host', host],
    ['--admin-listen', adminListen?.host ?? host],
    ['--metrics-listen', metricsListen?.host ?? host],
  ].find(([, name = '']) => !isLoopback(name));
  return open?.join(' ') ?? null;
}

/**
 * @returns whether clients may show signed tokens
 * @throws UsageError if settings for them are missing or of no use
 */
function takesSignedTokens(settings: Settings): boolean {
  const hasKeys = (settings.jwtJwks ?? settings.jwtKeyFile) !== null;
  checkClaims(settings, hasKeys);
  return hasKeys;
}

/** @throws UsageError if the claims of signed tokens would not be checked, or there are no such tokens */
function checkClaims({ jwtAudience, jwtIssuer }: Settings, hasKeys: boolean): void {
  if (hasKeys && jwtAudience === null) {
    throw new UsageError('signed tokens need --jwt-audience: tokens for other services are not for this one');
  }
  const claim = jwtAudience ?? jwtIssuer;
  if (!hasKeys && claim !== null) {
    throw new UsageError(
      `"${claim}" is to stand in signed tokens; --jwt-key-file or a JWKS has to bring their keys`,
    );
  }
}

/** Whether the node shows its master a token or a certificate, without which it would have nothing of the master's. */
export function showsItself({
  upstreamTokenFile,
  upstreamCert,
}: Pick<Settings, 'upstreamTokenFile' | 'upstreamCert'>): boolean {
  return upstreamTokenFile !== null || upstreamCert !== null;
}

/** @returns the path of the file with the tokens, whether it is there or not */
export function tokensPath({ tokensFile, data }: Pick<Settings, 'tokensFile' | 'data'>): string {
  return tokensFile ?? join(data, 'tokens.json');
}

/** Variables of the command line and of tests, which begin with PSYNCD_ like those of settings. */
const OTHER_VARIABLES: ReadonlySet<string> = new Set([
  'PSYNCD_CONFIG',
  'PSYNCD_NODE',
  'PSYNCD_TOKEN',
  'PSYNCD_TOKEN_FILE',
  'PSYNCD_CA',
  'PSYNCD_CERT',
  'PSYNCD_KEY',
  'PSYNCD_FAULTS',
  'PSYNCD_SEED',
]);
const TEST_VARIABLE = /^PSYNCD_(?:(?:TEST|WAL)_|(?:RUNS|SEEDS|STEPS)$)/;

/** @returns the environment variables that begin with PSYNCD_ but name no setting, for example misspelt ones */
export function unknownVariables(
  environment: Readonly<Record<string, string | undefined>>,
): readonly string[] {
  const known = new Set([...SETTINGS.map(({ name }) => variableOf(name)), ...OTHER_VARIABLES]);
  return Object.keys(environment)
    .filter((name) => name.startsWith('PSYNCD_') && !known.has(name) && !TEST_VARIABLE.test(name))
    .sort();
}

/** @returns one line that names two settings that contradict each other, or null */
export function contradictionIn(settings: Settings): string | null {
  for (const { name, atMost, needs = [] } of SETTINGS) {
    const lacking = needs.find((each) => !isGiven(settings[each as SettingName]));
    if (lacking !== undefined && isGiven(settings[name])) return `${flagOf(name)} needs ${flagOf(lacking)}`;
    if (atMost === undefined) continue;
    const [value, most] = [settings[name], settings[atMost as SettingName]];
    if (Number(value) > Number(most)) return `${name} (${value}) is larger than ${atMost} (${most})`;
  }
  return null;
}

/**
 * @param flags, environment, configFile as of `loadSettings`, which has taken them
 * @returns one line for each setting that a user has given, and that has no effect without another one
 */
export function idleSettings(
  flags: Readonly<Record<string, string | undefined>>,
  environment: Readonly<Record<string, string | undefined>>,
  configFile: string | null,
  settings: Settings,
): readonly string[] {
  const file = configFile === null ? {} : readConfigFile(configFile);
  return SETTINGS.flatMap(({ name, idleWithout = [] }) => {
    if (idleWithout.length === 0 || idleWithout.some((each) => isGiven(settings[each as SettingName])))
      return [];
    if ((flags[name] ?? (environment[variableOf(name)] || undefined) ?? file[name]) === undefined) return [];
    return [`${flagOf(name)} has no effect without ${idleWithout.map(flagOf).join(' or ')}`];
  });
}

/** Whether a setting that others need has a value that turns it on. */
function isGiven(value: unknown): boolean {
  return value !== null && value !== false && value !== 'no';
}

function first(
  ...candidates: readonly (readonly [string | undefined, string])[]
): readonly [string | null, string] {
  for (const [text, source] of candidates) if (text !== undefined) return [text, source];
  return [null, ''];
}

/** The largest configuration file, in bytes. */
const MAX_CONFIG_BYTES = 1024 * 1024;

function readConfigFile(path: string): Readonly<Record<string, string>> {
  let parsed: unknown;
  try {
    parsed = parseJson(readSmallFile(path, MAX_CONFIG_BYTES));
  } catch (error) {
    const detail = error instanceof JsonError ? `it is not JSON: ${error.detail}` : error;
    throw new UsageError(`--config ${path}: ${messageOf(detail)}`);
  }
  if (typeof parsed !== 'object' || parsed === null || Array.isArray(parsed) || isRawJSON(parsed)) {
    throw new UsageError(`--config ${path}: expected a JSON object`);
  }
  const known = new Map(SETTINGS.map((setting) => [setting.name as string, setting]));
  const values: Record<string, string> = {};
  for (const [name, value] of Object.entries(parsed)) {
    const setting = known.get(name);
    if (setting === undefined) throw new UsageError(`--config ${path}: there is no setting "${name}"`);
    if (isRawJSON(value)) values[name] = value.rawJSON;
    else if (['string', 'number', 'boolean'].includes(typeof value)) values[name] = String(value);
    else if (setting.isList === true && isTexts(value)) values[name] = value.join(',');
    else {
      const list = setting.isList === true ? ', nor an array of strings' : '';
      throw new UsageError(`--config ${path}: "${name}" is no string, number or boolean${list}`);
    }
  }
  return values;
}

/** Whether the value is an array of strings, none of which would be read as two elements. */
function isTexts(value: unknown): value is readonly string[] {
  return Array.isArray(value) && value.every((each) => typeof each === 'string' && !each.includes(','));
}
