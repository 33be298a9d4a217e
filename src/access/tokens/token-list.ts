/** The content of `tokens.json`, `{"tokens": [...]}`: what psyncd keeps of each token. Pure; `token-file.ts` reads and writes it. */
import { JsonError, JsonTooLarge, jsonSteps, MAX_JSON_VALUES, type Steps } from '../../keyspace/json/json.ts';
import { isRawJSON } from '../../keyspace/json/json-number.ts';
import { keyProblem } from '../../keyspace/key.ts';
import { asciiLowerCase } from '../ascii-case.ts';
import { isRight, RIGHTS, type Right, unlimited } from '../right.ts';

/** What the owner of an entry shows. */
export type Proof =
  /** SHA-256 of a token, 64 hex digits. */
  | { readonly sha256: string }
  /** A name in a certificate: a URI or DNS name of the subject, else its common name. */
  | { readonly certificate: { readonly san: string } };

export type TokenRecord = TokenMembers & Proof;

export interface TokenMembers {
  readonly id: string;
  readonly name: string;
  readonly rights: readonly Right[];
  /** Beginnings of the keys that the rights are about; null: all keys. */
  readonly prefixes: readonly string[] | null;
  /** Unix time in milliseconds; null: never. */
  readonly expiresAt: number | null;
  /** Unix time in milliseconds. */
  readonly createdAt: number;
  /** Whatever the operator wants to remember. */
  readonly note: string | null;
}

/** Longest name of a token, in characters. */
export const MAX_NAME_LENGTH = 100;
/** Largest number of key prefixes of one token: each read and each write looks at all of them. */
export const MAX_TOKEN_PREFIXES = 100;
const ID = /^[0-9A-Za-z]{8}$/;
const SHA256 = /^[0-9a-f]{64}$/;

/** The list cannot be used; the message says which token and which member. */
export class TokenListError extends Error {}

/** The list that is there cannot be used, whatever is asked for. */
export class TokenFileError extends TokenListError {}

/**
 * Reads a list in steps, because ten thousand tokens take longer than one turn of the event loop may.
 * @throws TokenListError
 */
export function* tokenListSteps(bytes: Buffer): Steps<readonly TokenRecord[]> {
  let parsed: unknown;
  try {
    parsed = yield* jsonSteps(bytes);
  } catch (error) {
    if (error instanceof JsonTooLarge)
      throw new TokenListError(
        `the list has more than ${MAX_JSON_VALUES} values: a token has some seven, and one for each right and prefix`,
      );
    if (error instanceof JsonError) throw new TokenListError(`it is not JSON: ${error.detail}`);
    throw error;
  }
  const tokens = membersOf(parsed)?.get('tokens');
  if (!Array.isArray(tokens)) throw new TokenListError('expected {"tokens": [...]}');
  const records: TokenRecord[] = [];
  const seen = new Set<string>();
  for (const [index, each] of tokens.entries()) {
    yield;
    const record = recordOf(each, `token ${index + 1}`);
    for (const unique of [record.id, secretOf(record)]) {
      if (seen.has(unique)) throw new TokenListError(`token ${index + 1}: ${unique} is in the list twice`);
      seen.add(unique);
    }
    records.push(record);
  }
  return records;
}

/** @returns what tells the proof of one entry from that of all others */
export function secretOf(record: Proof): string {
  return 'sha256' in record ? record.sha256 : `certificate ${record.certificate.san}`;
}

/** @returns the text of `tokens.json`, in pieces */
export function* formatSteps(records: readonly TokenRecord[]): Steps<readonly string[]> {
  if (records.length === 0) return ['{\n  "tokens": []\n}\n'];
  const pieces: string[] = [];
  for (const { prefixes, expiresAt, createdAt, note, ...record } of records) {
    yield;
    const token = {
      ...record,
      ...(prefixes === null ? {} : { prefixes }),
      ...(expiresAt === null ? {} : { expiresAt: new Date(expiresAt).toISOString() }),
      createdAt: new Date(createdAt).toISOString(),
      ...(note === null ? {} : { note }),
    };
    // No text of JSON has a line break in it.
    const text = JSON.stringify(token, null, 2).replaceAll('\n', '\n    ');
    pieces.push(`${pieces.length === 0 ? '{\n  "tokens": [' : ','}\n    ${text}`);
  }
  pieces.push('\n  ]\n}\n');
  return pieces;
}

/** What is asked for when a token is made. */
export interface TokenRequest {
  readonly name: string;
  readonly rights: readonly string[];
  readonly prefixes: readonly string[] | null;
}

/** @returns what is wrong with the name, rights and prefixes of a token, in one line that begins with the member; or null */
export function tokenProblem({ name, rights, prefixes }: TokenRequest): string | null {
  if (name === '' || name.length > MAX_NAME_LENGTH || !name.isWellFormed()) {
    return `name: expected 1 to ${MAX_NAME_LENGTH} characters`;
  }
  if (rights.length === 0) return `rights: expected some of ${RIGHTS.join(', ')}`;
  for (const right of rights) {
    if (!isRight(right)) {
      return `rights: there is no right ${JSON.stringify(right)}; there are ${RIGHTS.join(', ')}`;
    }
  }
  if (prefixes === null) return null;
  if (prefixes.length === 0 || prefixes.length > MAX_TOKEN_PREFIXES) {
    return `prefixes: expected 1 to ${MAX_TOKEN_PREFIXES} of them, or none at all`;
  }
  const wrong = prefixes.find((prefix) => keyProblem(prefix) !== null);
  if (wrong !== undefined) return `prefixes: ${JSON.stringify(wrong)} is not the beginning of a key`;
  const whole = unlimited(rights as readonly Right[]);
  return whole === null
    ? null
    : `prefixes: the right ${whole} is for the whole node, prefixes cannot limit it`;
}

/** Longest name in a certificate, in characters. */
export const MAX_SAN_LENGTH = 1_000;
const SAN_EXPECTED = `expected {"san": NAME}, a name of at most ${MAX_SAN_LENGTH} printable characters`;

/** @returns what is wrong with a name that a certificate should have, or null */
export function sanProblem(san: string): string | null {
  const isName = san.isWellFormed() && san.length <= MAX_SAN_LENGTH && /^[^\p{Cc}\p{Cf}]+$/u.test(san);
  return isName ? null : SAN_EXPECTED;
}

/** @returns the one spelling of a name: DNS names are the same in upper and lower case, URIs are not */
export function canonicalSan(san: string): string {
  return san.includes(':') ? san : asciiLowerCase(san);
}

const MEMBERS: ReadonlySet<string> = new Set([
  'id',
  'name',
  'sha256',
  'certificate',
  'rights',
  'prefixes',
  'expiresAt',
  'createdAt',
  'note',
]);

function recordOf(value: unknown, where: string): TokenRecord {
  const wrong = (what: string): TokenListError => new TokenListError(`${where}: ${what}`);
  const members = membersOf(value);
  if (members === null) throw wrong('expected an object');
  for (const name of members.keys()) if (!MEMBERS.has(name)) throw wrong(`there is no member "${name}"`);
  const text = (name: string, pattern: RegExp): string => {
    const found = members.get(name);
    if (typeof found === 'string' && pattern.test(found)) return found;
    throw wrong(`"${name}" is not ${pattern.source}`);
  };
  const texts = (name: string): readonly string[] => {
    const found = members.get(name);
    if (Array.isArray(found) && found.every((each) => typeof each === 'string')) return found;
    throw wrong(`"${name}" is no list of texts`);
  };
  const time = (name: string): number => {
    const found = members.get(name);
    const ms = typeof found === 'string' ? momentOf(found) : null;
    if (ms !== null) return ms;
    throw wrong(`"${name}" is no date with Z or an offset, such as 2027-01-31T00:00:00Z`);
  };
  const proof = (): Proof => {
    if (!members.has('certificate')) return { sha256: text('sha256', SHA256) };
    if (members.has('sha256')) throw wrong('"sha256" and "certificate" exclude each other');
    const parts = membersOf(members.get('certificate'));
    const san = parts?.get('san');
    const problem = parts?.size === 1 && typeof san === 'string' ? sanProblem(san) : SAN_EXPECTED;
    if (problem !== null) throw wrong(`"certificate": ${problem}`);
    return { certificate: { san: canonicalSan(san as string) } };
  };
  const request = {
    name: text('name', /^/),
    rights: texts('rights'),
    prefixes: members.has('prefixes') ? texts('prefixes') : null,
  };
  const problem = tokenProblem(request);
  if (problem !== null) throw wrong(problem);
  return {
    ...request,
    rights: request.rights as readonly Right[],
    id: text('id', ID),
    ...proof(),
    expiresAt: members.has('expiresAt') ? time('expiresAt') : null,
    createdAt: time('createdAt'),
    note: members.has('note') ? text('note', /^/) : null,
  };
}

/** Date and time of RFC 3339, with seconds that may be left out. */
const MOMENT =
  /^(\d{4})-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])T(?:[01]\d|2[0-3]):[0-5]\d(?::[0-5]\d(?:\.\d{1,9})?)?(?:Z|[+-](?:[01]\d|2[0-3]):[0-5]\d)$/;

/**
 * Without Z or an offset a time would be one of the zone that this machine is in.
 * @returns milliseconds since 1970; null: it is no such time, or a day that the month has not
 */
function momentOf(text: string): number | null {
  const [, year, month, day] = MOMENT.exec(text) ?? [];
  if (day === undefined) return null;
  const midnight = new Date(`${year}-${month}-01T00:00:00Z`);
  midnight.setUTCDate(Number(day));
  return midnight.getUTCDate() === Number(day) ? Date.parse(text) : null;
}

/** @returns the members of an object, whatever their names are; null: it is none */
function membersOf(value: unknown): ReadonlyMap<string, unknown> | null {
  if (typeof value !== 'object' || value === null || Array.isArray(value) || isRawJSON(value)) return null;
  return new Map(Object.entries(value));
}
