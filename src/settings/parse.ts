/** Parsers for the texts of settings. Each returns the value, or throws a UsageError that names the texts that it accepts. */
import { isIP } from 'node:net';
import { isRight, RIGHTS, type Right } from '../access/right.ts';
import { canonicalUpstream, parsePublicUrl, parseUpstream } from '../replication/upstream.ts';
import type { Origins } from '../web/origins.ts';

/** Wrong usage, exit code 2: a setting or an argument that psyncd cannot use. The message is one line. */
export class UsageError extends Error {
  override readonly name = 'UsageError';
}

/** Size of the backlog in bytes; or the time for which replicas may be away, from which the node computes the size. */
export type BacklogSize = number | { readonly awayMs: number };

type Units = ReadonlyMap<string, number>;
const SIZE_UNITS: Units = new Map(Object.entries({ b: 1, kb: 1024, mb: 1024 ** 2, gb: 1024 ** 3 }));
const DAY_MS = 24 * 3_600_000;
const TIME_UNITS: Units = new Map(Object.entries({ ms: 1, s: 1_000, m: 60_000, h: 3_600_000, d: DAY_MS }));

/** Reads `1mb`, `512kb` or `100` (bytes); units are of 1,024. @returns bytes @throws UsageError */
export function parseSize(text: string): number {
  return scaled(text, SIZE_UNITS, 'b', 'a size such as 512kb, 1mb or 2gb');
}

/** Reads `500ms`, `10s`, `2h` or `1d`; a bare number is milliseconds. @returns milliseconds @throws UsageError */
export function parseTime(text: string): number {
  return scaled(text, TIME_UNITS, 'ms', 'a time such as 500ms, 10s, 2h or 1d');
}

function scaled(text: string, units: Units, bare: string, expected: string): number {
  const match = /^(\d{1,15}(?:\.\d{1,6})?)\s*([a-z]*)$/i.exec(text.trim());
  const unit = units.get((match?.[2] || bare).toLowerCase());
  const value = Math.round(Number(match?.[1]) * (unit ?? Number.NaN));
  if (!Number.isSafeInteger(value)) throw new UsageError(`expected ${expected}`);
  return value;
}

/** Reads decimal digits. @returns an integer from 0 on @throws UsageError */
export function parseWhole(text: string): number {
  const value = Number(text);
  if (!/^\d{1,16}$/.test(text) || !Number.isSafeInteger(value))
    throw new UsageError('expected a whole number');
  return value;
}

/** Largest `--rate-limit`, in requests a second. */
const MAX_RATE = 1_000_000;

/** Reads `100/s`, or `0`. @returns requests a second; 0: no limit @throws UsageError */
export function parseRate(text: string): number {
  const digits = /^(\d{1,7})(?:\/s)?$/.exec(text.trim())?.[1];
  const value = Number(digits);
  if (digits === undefined || value > MAX_RATE || (value > 0 && !text.includes('/'))) {
    throw new UsageError(`expected 1/s to ${MAX_RATE}/s, or 0`);
  }
  return value;
}

/** @returns a parser that accepts numbers, times or sizes from `least` to `most`, and throws a UsageError for all others */
export function between(
  parse: (text: string) => number,
  least: string,
  most: string,
): (text: string) => number {
  return (text) => {
    const value = parse(text);
    if (value < parse(least) || value > parse(most))
      throw new UsageError(
        `allowed are ${least} to ${most}${/\d$/.test(text) && parse !== parseWhole ? ' (a number without a unit is bytes or milliseconds)' : ''}`,
      );
    return value;
  };
}

/** @returns a parser that accepts these words only, and throws a UsageError for all others */
export function oneOf<T extends string>(...words: readonly T[]): (text: string) => T {
  return (text) => {
    const word = words.find((each) => each === text);
    if (word === undefined) throw new UsageError(`expected one of ${words.join(', ')}`);
    return word;
  };
}

/** Reads `true` or `false`. @throws UsageError */
export function trueOrFalse(text: string): boolean {
  return oneOf('true', 'false')(text) === 'true';
}

/** Accepts names such as `shop-eu_1.b`, which need no escapes in any query. @throws UsageError */
export function clusterName(text: string): string {
  if (!/^[\w.-]{1,64}$/.test(text))
    throw new UsageError('expected 1 to 64 letters, digits, ".", "_" and "-"');
  return text;
}

/** Accepts every text except the empty one. @throws UsageError */
export function filled(text: string): string {
  if (text === '') throw new UsageError('it is empty');
  return text;
}

/** Reads `1mb`, or `auto:120s`. @throws UsageError */
export function backlogSize(text: string): BacklogSize {
  const auto = /^auto:(.*)$/i.exec(text.trim());
  if (auto !== null) return { awayMs: between(parseTime, '1s', '24h')(auto[1] as string) };
  try {
    return between(parseSize, '16kb', '4gb')(text);
  } catch (error) {
    if (error instanceof UsageError) throw new UsageError(`${error.message}; or auto:TIME, as in auto:120s`);
    throw error;
  }
}

/** @returns the size as users write it: bytes, or `auto:120s` */
export function formatBacklogSize(size: BacklogSize): number | string {
  if (typeof size === 'number') return size;
  return size.awayMs % 1000 === 0 ? `auto:${size.awayMs / 1000}s` : `auto:${size.awayMs}ms`;
}

/** What the journal keeps: at most so many bytes; of the last `ms` milliseconds only, unless null. */
export interface JournalKeep {
  readonly bytes: number;
  readonly ms: number | null;
}

/** Most bytes of a time for which no size is given. */
const KEPT_BY_TIME = '16gb';

/** Reads `0`, `4gb`, `2h` or `2h,4gb`. @throws UsageError */
export function journalKeep(text: string): JournalKeep {
  const given =
    /^(?:(\d[\d.]*\s*(?:ms|s|m|h|d))|(\d[\d.]*\s*(?:[kmg]?b)?))(?:\s*,\s*(\d[\d.]*\s*(?:[kmg]?b)?))?$/i.exec(
      text.trim(),
    );
  const [, time, size, limit] = given ?? [];
  if (given === null || (size !== undefined && limit !== undefined))
    throw new UsageError('expected a time such as 2h, a size such as 4gb, or both as 2h,4gb');
  const bytes = between(parseSize, '0', '1024gb')(size ?? limit ?? KEPT_BY_TIME);
  if (time !== undefined && bytes === 0) throw new UsageError('a time with a size of 0 keeps nothing; use 0');
  return { bytes, ms: time === undefined ? null : between(parseTime, '1s', '168h')(time) };
}

/** @returns what users write: bytes, or `7200s,4294967296` */
export function formatJournalKeep({ bytes, ms }: JournalKeep): number | string {
  if (ms === null) return bytes;
  return `${ms % 1000 === 0 ? `${ms / 1000}s` : `${ms}ms`},${bytes}`;
}

/** Of the backups younger than `ageMs`, one for each period of `everyMs` is kept. */
export interface BackupKeep {
  readonly ageMs: number;
  readonly everyMs: number;
}

/** Most rules for backups. */
const MAX_KEEP_RULES = 16;

/** Reads `24h=1h,30d=1d`. @throws UsageError */
export function backupKeep(text: string): readonly BackupKeep[] {
  const rules = listed(text).map((rule) => {
    const [ageMs, everyMs, ...more] = rule.split('=').map(parseTime);
    if (ageMs === undefined || everyMs === undefined || more.length > 0 || everyMs < 1_000 || ageMs < everyMs)
      throw new UsageError('expected AGE=PERIOD such as 24h=1h,30d=1d, with periods of 1s to their age');
    return { ageMs, everyMs };
  });
  if (rules.length === 0 || rules.length > MAX_KEEP_RULES)
    throw new UsageError(`expected 1 to ${MAX_KEEP_RULES} rules such as 24h=1h,30d=1d`);
  return rules;
}

/** @returns what users write: `86400s=3600s` */
export function formatBackupKeep(rules: readonly BackupKeep[]): string {
  return rules.map(({ ageMs, everyMs }) => `${shortTime(ageMs)}=${shortTime(everyMs)}`).join(',');
}

function shortTime(ms: number): string {
  if (ms % DAY_MS === 0) return `${ms / DAY_MS}d`;
  if (ms % 3_600_000 === 0) return `${ms / 3_600_000}h`;
  return ms % 1_000 === 0 ? `${ms / 1_000}s` : `${ms}ms`;
}

function listed(text: string): readonly string[] {
  return text
    .split(',')
    .map((each) => each.trim())
    .filter((each) => each !== '');
}

/** Reads `https://app.example,http://localhost:3000`, or `*`; browsers send `null` as the origin of local files. @throws UsageError */
export function origins(text: string): Origins {
  const list = listed(text);
  if (list.includes('*')) return 'any';
  const wrong = list.find((each) => each !== 'null' && !/^https?:\/\/[^/?#@\s]+$/.test(each));
  if (wrong !== undefined) throw new UsageError('expected origins of the form https://HOST[:PORT], or *');
  return list.map((each) => each.toLowerCase());
}

/** An address to listen on. */
export interface Address {
  /** Without brackets. */
  readonly host: string;
  readonly port: number;
}

/** Reads `127.0.0.1:7797` and `[::1]:7797`; port 0: a free one. @throws UsageError */
export function address(text: string): Address {
  const [, bracketed, plain, digits] = /^(?:\[([^[\]]+)\]|([^:[\]]+)):(\d{1,5})$/.exec(text.trim()) ?? [];
  const host = bracketed ?? plain;
  const port = Number(digits);
  if (host === undefined || !(port <= 65_535))
    throw new UsageError('expected HOST:PORT, such as 127.0.0.1:7797');
  return { host, port };
}

/** @returns the address as users write it */
export function formatAddress({ host, port }: Address): string {
  return `${host.includes(':') ? `[${host}]` : host}:${port}`;
}

/** Reads `db.example,db`. Names stand without a port: the node knows its own. @returns lowercase DNS names @throws UsageError */
export function hostNames(text: string): readonly string[] {
  return listed(text).map((name) => {
    const url = `http://${name}`;
    if (/[:/?#@\\\s*]|^\./.test(name) || !URL.canParse(url)) {
      throw new UsageError('expected names such as db.example, without a port');
    }
    return new URL(url).hostname;
  });
}

/** Reads `10.0.0.7,10.0.0.0/8`. @returns addresses and networks @throws UsageError */
export function proxies(text: string): readonly string[] {
  const list = listed(text);
  if (!list.every(isAddressOrNetwork)) {
    throw new UsageError('expected addresses or networks such as 10.0.0.7 or 10.0.0.0/8');
  }
  return list;
}

function isAddressOrNetwork(text: string): boolean {
  const [address = '', bits, ...more] = text.split('/');
  const version = isIP(address);
  if (version === 0 || address.includes('%') || more.length > 0) return false;
  return bits === undefined || (/^\d{1,3}$/.test(bits) && Number(bits) <= (version === 4 ? 32 : 128));
}

/** Reads `https://app.example/kv`. @returns the URL without a final slash @throws UsageError */
export function publicUrl(text: string): string {
  const url = parsePublicUrl(text);
  if (url === null) throw new UsageError('expected a URL of the form https://HOST[:PORT][/PATH]');
  return url;
}

/** Reads `read,metrics`. @returns rights of requests without a token @throws UsageError */
export function rights(text: string): readonly Right[] {
  return listed(text).map((name) => {
    if (!isRight(name)) throw new UsageError(`expected some of ${RIGHTS.join(', ')}, separated by commas`);
    return name;
  });
}

/**
 * Accepts a path, an `https:` URL, and an `http:` URL of this machine: on the way from another one somebody could exchange the
 * keys. @returns the text as it is @throws UsageError
 */
export function keySet(text: string): string {
  if (!/^https?:/i.test(text)) return filled(text);
  const url = URL.canParse(text) ? new URL(text) : null;
  if (url === null || url.username !== '' || url.password !== '') {
    throw new UsageError('expected an https URL without a password, or a file');
  }
  if (url.protocol === 'https:' || isLoopback(url.hostname)) return text;
  throw new UsageError('expected https for a URL of another machine');
}

/** Whether a host is this machine itself. */
export function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || host === '[::1]' || /^127\.\d+\.\d+\.\d+$/.test(host);
}

/** Accepts `ws://HOST:PORT` and `no-one`, and returns the text as it is. @throws UsageError */
export function upstream(text: string): string {
  if (text !== 'no-one' && parseUpstream(text) === null) {
    throw new UsageError('expected a URL of the form ws://HOST:PORT, or no-one');
  }
  return text;
}

/** Reads `ws://HOST:PORT`. @returns its canonical form @throws UsageError */
export function masterUrl(text: string): string {
  const url = parseUpstream(text);
  if (url === null) throw new UsageError('expected a URL of the form ws://HOST:PORT');
  return canonicalUpstream(url);
}
