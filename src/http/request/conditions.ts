/** Parses `If-Match` and `If-None-Match` (RFC 9110, 13.1). The ETag of an entry is its version in quotes. */
import type { IncomingHttpHeaders } from 'node:http';
import type { Condition } from '../../keyspace/condition.ts';
import { Problem } from '../../node/problem.ts';

/**
 * Condition of a write. With both headers, both must hold (RFC 9110, 13.2.2).
 * @param mayRead whether the sender may read the entry: only then a refusal tells its version
 * @throws Problem BAD_REQUEST for malformed headers
 */
export function writeCondition(headers: IncomingHttpHeaders, mayRead: boolean): Condition {
  const match = headers['if-match'];
  const noneMatch = headers['if-none-match'];
  return {
    ...(mayRead ? {} : { hidesVersion: true }),
    // A weak ETag never matches here (RFC 9110, 13.1.1).
    ...(match === undefined ? {} : { match: versions('If-Match', match, false) }),
    ...(noneMatch === undefined ? {} : { noneMatch: versions('If-None-Match', noneMatch, true) }),
  };
}

/** Whether `If-None-Match` names this version, so that the client already has it. */
export function isKnown(headers: IncomingHttpHeaders, version: number): boolean {
  const known = headers['if-none-match'];
  if (known === undefined) return false;
  const list = versions('If-None-Match', known, true);
  return list === '*' || list.includes(version);
}

/**
 * Whether a header names this ETag, `"…"`; a header that is not there names every one.
 * @param etag null: only `*` and a header that is not there name it
 * @throws Problem BAD_REQUEST for a malformed header
 */
export function namesEtag(
  headers: IncomingHttpHeaders,
  name: 'if-match' | 'if-none-match',
  etag: string | null,
): boolean {
  const header = headers[name];
  if (header === undefined) return true;
  const weak = name === 'if-none-match';
  const list = tags(weak ? 'If-None-Match' : 'If-Match', header);
  return list === '*' || list.some(({ tag, isWeak }) => `"${tag}"` === etag && (weak || !isWeak));
}

export function etag(version: number): string {
  return `"${version}"`;
}

function versions(name: string, header: string, weak: boolean): '*' | readonly number[] {
  const list = tags(name, header);
  if (list === '*') return list;
  // A well-formed ETag that is not a version matches no entry.
  return list.flatMap(({ tag, isWeak }) =>
    /^[1-9]\d{0,15}$/.test(tag) && (weak || !isWeak) ? [Number(tag)] : [],
  );
}

interface Tag {
  /** Without the quotes. */
  readonly tag: string;
  readonly isWeak: boolean;
}

/** @throws Problem BAD_REQUEST for a malformed header */
function tags(name: string, header: string): '*' | readonly Tag[] {
  const text = header.trim();
  if (text === '*') return '*';
  const found: Tag[] = [];
  // Elements of a list may be empty (RFC 9110, 5.6.1.2).
  const element = /[\s,]*(?:(W\/)?"([\x21\x23-\x7e\x80-\xff]*)"[ \t]*(?:,|$)|$)/y;
  while (element.lastIndex < text.length) {
    const match = element.exec(text);
    if (match === null) throw new Problem('BAD_REQUEST', `${name} is not a list of ETags in quotes`);
    const [, weakness, tag] = match;
    if (tag === undefined) break;
    found.push({ tag, isWeak: weakness !== undefined });
  }
  if (found.length === 0) throw new Problem('BAD_REQUEST', `${name} is empty`);
  return found;
}
