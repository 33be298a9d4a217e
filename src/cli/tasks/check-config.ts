/** `psyncd config check`: reads the settings and every file that they name as a start would, and changes nothing. */
import { statSync } from 'node:fs';
import { resolve } from 'node:path';
import { placesOf } from '../../access/jwt/jwts.ts';
import { KeySource } from '../../access/jwt/key-source.ts';
import { readToken } from '../../access/token-reader.ts';
import { missingTarget, readTokens } from '../../access/tokens/token-file.ts';
import { targetOf } from '../../backup-plan.ts';
import { listenerTls } from '../../entrance.ts';
import { messageOf } from '../../node/ports/failures.ts';
import type { Log } from '../../node/ports/world.ts';
import { checkAccessFile } from '../../runtime/access-lines.ts';
import { systemWorld } from '../../runtime/system-world.ts';
import { idleSettings, loadSettings, tokensPath, unknownVariables } from '../../settings/load.ts';
import type { Settings } from '../../settings/table.ts';
import { refuseLostTokens } from '../../store/guard-file.ts';
import { UpstreamTls } from '../../tls/upstream-tls.ts';
import { CommandError } from '../command-error.ts';
import { targetOf as fileOf } from './export-file.ts';

const silent = (): void => undefined;
const LOG: Log = { debug: silent, info: silent, warn: silent, error: silent };

/**
 * @param flags as of `psyncd serve`
 * @returns warnings, one line each
 * @throws CommandError of one line that names the setting or the file, and what is wrong with it
 */
export async function checkConfig(
  flags: Readonly<Record<string, string | undefined>>,
  configFile: string | null,
): Promise<readonly string[]> {
  const warnings = unknownVariables(process.env).map((name) => `${name} is no setting`);
  try {
    const settings = loadSettings(flags, process.env, configFile);
    checkTokens(settings);
    await checkKeys(settings);
    (await listenerTls(settings, LOG))?.stop();
    warnings.push(
      ...idleSettings(flags, process.env, configFile, settings),
      ...(await missingTargets(settings)),
    );
    new UpstreamTls(settings, systemWorld, LOG).options();
    if (settings.accessLog !== null) await checkAccessLog(settings.accessLog);
    if (settings.upstreamTokenFile !== null) readToken(settings.upstreamTokenFile);
  } catch (error) {
    throw new CommandError(messageOf(error));
  }
  return warnings;
}

/**
 * @returns one line for each folder for backups or the archive that is not there: the node starts, and tries again and again
 * @throws StartError if a setting names no target
 */
async function missingTargets(settings: Settings): Promise<readonly string[]> {
  const missing: string[] = [];
  for (const [flag, text] of [
    ['--backup-to', settings.backupTo],
    ['--archive-to', settings.archiveTo],
  ] as const) {
    if (text === null) continue;
    const target = await targetOf(flag, text, settings.data);
    const { FolderTarget } = await import('../../target/folder-target.ts');
    if (target instanceof FolderTarget && !isFolder(target.shown))
      missing.push(`${flag}: ${target.shown} is no folder that this user can see; the node does not make it`);
  }
  return missing;
}

function isFolder(path: string): boolean {
  try {
    return statSync(path).isDirectory();
  } catch {
    return false;
  }
}

/** @throws Error that names the file, the token and the member */
function checkTokens(settings: Settings): void {
  const path = tokensPath(settings);
  let tokens: ReturnType<typeof readTokens>;
  try {
    tokens = readTokens(path);
  } catch (error) {
    throw new Error(`${path}: ${messageOf(error)}`);
  }
  if (tokens !== null) return;
  const missing = missingTarget(path) ?? (settings.tokensFile === null ? null : 'there is no such file');
  if (missing !== null) throw new Error(`${path}: ${missing}`);
  if (settings.jwtAudience === null) refuseLostTokens(resolve(settings.data), path);
}

/** Finds what a start would refuse, and makes no file. @throws Error that names the setting */
async function checkAccessLog(path: string): Promise<void> {
  let target: string;
  try {
    target = path === '-' ? path : await fileOf(path);
  } catch (error) {
    throw new Error(`--access-log: ${messageOf(error)}`);
  }
  checkAccessFile(target);
}

/** Reads the files with keys of signed tokens; URLs are not asked. @throws Error that names the setting */
async function checkKeys(settings: Settings): Promise<void> {
  for (const place of placesOf(settings)) {
    if (/^https?:/i.test(place.place)) continue;
    const source = new KeySource(place, { world: systemWorld, log: LOG, gone: silent });
    try {
      await source.start();
    } finally {
      source.stop();
    }
  }
}
