/**
 * Requests as bytes. Three kinds: `known` ones are right, in one of the many spellings that HTTP has for them, and a model
 * says what they do; `odd` ones are HTTP and nobody knows what they do, but the answer must be in openapi.yaml;
 * `broken` ones are no HTTP, and the connection ends behind them.
 */
import type { Chance } from './chance.ts';
import {
  BROKEN_ESCAPES,
  HARMLESS_HEADERS,
  METHODS,
  NAMES,
  ODD_HEADERS,
  ODD_NUMBERS,
  oddJson,
  TEXTS,
} from './dictionary.ts';
import type { Operation } from './model.ts';

export interface RawRequest {
  readonly method: string;
  /** As openapi.yaml knows it: in origin form, with the query. */
  readonly path: string;
  readonly bytes: Buffer;
}

type Field = readonly [string, string];

/** Deeper than anything that a reader of JSON should follow. */
const DEPTHS = [10, 127, 128, 129, 500, 5_000, 50_000];

/** A right request for the operation. @param host of the node, `127.0.0.1:PORT` */
export function knownRequest(chance: Chance, host: string, operation: Operation): RawRequest {
  const fields: Field[] = chance.some(HARMLESS_HEADERS, 4);
  switch (operation.kind) {
    case 'put': {
      const condition: Field[] = operation.ifAbsent === true ? [['If-None-Match', '*']] : [];
      return spelled(
        chance,
        host,
        'PUT',
        keyPath(chance, operation.key),
        [...fields, ...condition],
        operation.value,
      );
    }
    case 'append':
      return spelled(
        chance,
        host,
        'POST',
        `${keyPath(chance, operation.key)}/append`,
        fields,
        operation.value,
      );
    case 'increment': {
      const body = JSON.stringify({ by: operation.by });
      return spelled(chance, host, 'POST', `${keyPath(chance, operation.key)}/increment`, json(fields), body);
    }
    case 'patch': {
      const type: Field = ['Content-Type', 'application/merge-patch+json'];
      const body = JSON.stringify(operation.patch);
      return spelled(chance, host, 'PATCH', keyPath(chance, operation.key), [...fields, type], body);
    }
    case 'batch': {
      const ops = [
        ...[...operation.sets].map(([key, value]) => ({ op: 'set', key, value })),
        ...operation.deletes.map((key) => ({ op: 'delete', key })),
      ];
      return spelled(chance, host, 'POST', '/v1/batch', json(fields), JSON.stringify({ ops }));
    }
    case 'persist':
      return spelled(chance, host, 'DELETE', `${keyPath(chance, operation.key)}/expiry`, fields);
    default: {
      const method = { get: 'GET', head: 'HEAD', delete: 'DELETE' }[operation.kind];
      return spelled(chance, host, method, keyPath(chance, operation.key), fields);
    }
  }
}

function json(fields: readonly Field[]): Field[] {
  return [...fields, ['Content-Type', 'application/json']];
}

/** The key's path in one of its spellings: more is escaped than need be, in capital letters or small ones. */
export function keyPath(chance: Chance, key: string): string {
  const mayEscapeSlash = chance.is(0.5) || /\/(?:increment|append|expiry)$/.test(key);
  const segments = [...key].map((character) => {
    if (character === '/' && !mayEscapeSlash) return character;
    const escaped = encodeURIComponent(character);
    // A path of nothing but dots is a step up to some clients, though not in a request.
    if (escaped === character && (character === '.' || chance.is(0.05))) {
      return `%${character.charCodeAt(0).toString(16)}`;
    }
    return chance.is(0.5) ? escaped.toLowerCase().replace(/^[^%].*/, character) : escaped;
  });
  return `/v1/keys/${segments.join('')}`;
}

/** One of the spellings that mean the same. */
function spelled(
  chance: Chance,
  host: string,
  method: string,
  path: string,
  fields: readonly Field[],
  body?: Buffer | string,
): RawRequest {
  const withQuery = chance.is(0.2) ? `${path}?` : path;
  const target = chance.is(0.1) ? `http://${host}${withQuery}` : withQuery;
  const all: Field[] = [['Host', chance.is(0.1) ? host.replace('127.0.0.1', 'LocalHost') : host], ...fields];
  const framed = body === undefined ? [] : framing(chance, Buffer.from(body), all);
  const lines = all.map(
    ([name, value]) =>
      `${cased(chance, name)}:${chance.of([' ', '', '\t', '  '])}${value}${chance.of(['', '', ' '])}\r\n`,
  );
  const head = Buffer.from(`${method} ${target} HTTP/1.1\r\n${lines.join('')}\r\n`, 'latin1');
  return { method, path: withQuery, bytes: Buffer.concat([head, ...framed]) };
}

function cased(chance: Chance, name: string): string {
  return chance.of([name, name.toLowerCase(), name.toUpperCase()]);
}

/** The body as it is sent; the field that says how is added to the others. */
function framing(chance: Chance, body: Buffer, fields: Field[]): Buffer[] {
  if (chance.is(0.7)) {
    fields.push(['Content-Length', String(body.length)]);
    return [body];
  }
  fields.push(['Transfer-Encoding', chance.of(['chunked', 'Chunked'])]);
  const extension = (): string => chance.of(['', '', ';a=b', ';a="x"']);
  return [
    ...chance
      .pieces(body)
      .flatMap((piece) => [
        Buffer.from(`${piece.length.toString(16)}${extension()}\r\n`),
        piece,
        Buffer.from('\r\n'),
      ]),
    Buffer.from(chance.of(['0\r\n\r\n', '0\r\nTrailer: x\r\n\r\n'])),
  ];
}

/** Templates of paths, `{k}` for a key and `{n}` for a number, that cannot change what the model knows. */
const ODD_PATHS: readonly string[] = [
  '/v1/keys/odd{k}',
  '/v1/keys/odd{k}?ttl={n}',
  '/v1/keys/odd{k}?position={k}',
  '/v1/keys/odd{k}?{k}={n}',
  '/v1/keys/odd{k}/increment',
  '/v1/keys/odd{k}/append?acks={n}&timeout=1',
  '/v1/keys/odd{k}/expiry',
  '/v1/keys/{k}/constructor',
  '/v1/keys?prefix=odd{k}&limit={n}',
  '/v1/keys?prefix=odd{k}&after={k}&values=true',
  '/v1/keys?values={k}&prefix=odd',
  '/v1/export?prefix=odd{k}',
  '/v1/changes?prefix=odd{k}&wait=0',
  '/v1/changes?wait=0&prefix=odd&limit={n}',
  '/v1/changes?wait=0&prefix=odd&position={k}',
  '/v1/changes?wait=0&snapshot={k}',
  '/v1/changes?wait=0&prefix=odd&from-time={n}',
  '/v1/changes?wait=0&prefix=odd&from-time={k}',
  '/v1/diff?from={k}',
  '/v1/diff?from={k}&to={k}&after={k}&prefix=odd&limit={n}',
  '/v1/batch',
  '/v1/import',
  '/v1/config',
  '/v1/info',
  '/v1/digest?{k}',
  '/v1/replication',
  '/v1/replication/check?position={k}',
  '/v1/replication/backlog?seconds={n}',
  '/v1/replication/sessions',
  '/v1/replication/stream',
  '/v1/replication/accept',
  '/v1/replication/counters/reset',
  '/v1/{k}',
  '/{k}',
  '//',
  '/',
  '*',
  '/healthz',
  '/readyz?{k}={n}',
  '/openapi.json',
  '/docs',
];
/** What has a body that would matter: with the methods that only read, nothing is written. */
const READING = ['GET', 'HEAD', 'OPTIONS', 'TRACE', 'QUERY'];

/** HTTP of which nobody knows what it does; nothing that the model knows of. */
export function oddRequest(chance: Chance, host: string): RawRequest {
  const template = chance.of(ODD_PATHS);
  const path = template
    .replaceAll('{k}', () => (chance.is(0.2) ? chance.of(BROKEN_ESCAPES) : encodeURIComponent(word(chance))))
    .replaceAll('{n}', () =>
      chance.is(0.5) ? String(chance.below(50)) : encodeURIComponent(chance.of(ODD_NUMBERS)),
    );
  const mayWrite =
    template.startsWith('/v1/keys/odd') || template === '/v1/batch' || template === '/v1/import';
  const methods = METHODS.filter(
    (method) => /^[A-Z]+$/.test(method) && !['CONNECT', 'PUTT'].includes(method),
  );
  const method = chance.of(mayWrite ? methods : READING);
  const fields: Field[] = [
    ...chance.some(HARMLESS_HEADERS, 3),
    ...chance
      .some(ODD_HEADERS, 2)
      .filter(([name]) => !['Host', 'Expect', 'Upgrade', 'Connection'].includes(name)),
  ];
  if (chance.is(0.5))
    fields.push([
      'Content-Type',
      chance.of(['application/json', 'application/merge-patch+json', 'application/x-ndjson', 'text/plain']),
    ]);
  const hasBody = chance.is(method === 'GET' || method === 'HEAD' ? 0.1 : 0.8);
  const body = hasBody ? oddBody(chance) : undefined;
  const all: Field[] = [['Host', host], ...fields];
  const framed = body === undefined ? [] : framing(chance, body, all);
  const head = `${method} ${path} HTTP/1.1\r\n${all.map(([name, value]) => `${name}: ${value}\r\n`).join('')}\r\n`;
  return { method, path, bytes: Buffer.concat([Buffer.from(head, 'latin1'), ...framed]) };
}

function oddBody(chance: Chance): Buffer {
  const text = chance.of(oddJson(chance.of(DEPTHS)));
  if (chance.is(0.1)) return chance.bytes(chance.below(200));
  if (!chance.is(0.3)) return Buffer.from(text);
  const at = chance.below(text.length + 1);
  return Buffer.from(text.slice(0, at) + chance.of([...TEXTS, ...ODD_NUMBERS]) + text.slice(at + 1));
}

/** A piece of a key that means something to somebody. */
export function word(chance: Chance): string {
  return chance.of([...NAMES, ...TEXTS, ...NAMES.map((name) => `a/${name}`)]);
}

/** Bytes that are no HTTP request, or not one that a careful server takes. Nothing may be sent behind them. */
export function brokenRequest(chance: Chance, host: string): Buffer {
  const put = (fields: string, body = ''): string =>
    `PUT /v1/keys/odd/broken HTTP/1.1\r\nHost: ${host}\r\n${fields}\r\n${body}`;
  const header = chance.of(ODD_HEADERS);
  const choices: readonly (string | Buffer)[] = [
    put('Content-Length: 1\r\nContent-Length: 2\r\n', 'ab'),
    put('Content-Length: 2\r\nTransfer-Encoding: chunked\r\n', '0\r\n\r\n'),
    put('Content-Length: -1\r\n'),
    put('Content-Length: 1e1\r\n', 'a'),
    put('Content-Length: 99999999999999999999\r\n', 'a'),
    put('Content-Length: 100\r\n', 'short'),
    put('Transfer-Encoding: gzip, chunked\r\n', '1\r\na\r\n0\r\n\r\n'),
    put('Transfer-Encoding: gzip\r\n', 'a'),
    put('Transfer-Encoding: chunked, chunked\r\n', '0\r\n\r\n'),
    put('Transfer-Encoding: chunked\r\n', 'zz\r\n'),
    put('Transfer-Encoding: chunked\r\n', '5\r\nabc'),
    put('Transfer-Encoding: chunked\r\n', `${'f'.repeat(20)}\r\n`),
    put('Transfer-Encoding: chunked\r\n', `1;${'x'.repeat(20_000)}\r\na\r\n0\r\n\r\n`),
    put(`Host: ${host}\r\nContent-Length: 0\r\n`),
    put(' folded: x\r\n'),
    put('Spaced : x\r\n'),
    put('X-Nul: a\u0000b\r\n'),
    put('X-Return: a\rb\r\n'),
    put(`X-Long: ${'x'.repeat(20_000)}\r\n`),
    put(`${'X: y\r\n'.repeat(3_000)}`),
    put('Expect: 200-maybe\r\nContent-Length: 1\r\n', 'a'),
    put('Expect: 100-continue\r\nContent-Length: 1\r\n'),
    put(`${header[0]}: ${header[1]}\r\nContent-Length: 1\r\n`, 'a'),
    'GET / HTTP/1.1\r\n\r\n',
    'GET / HTTP/1.0\r\n\r\n',
    `GET / HTTP/0.9\r\nHost: ${host}\r\n\r\n`,
    'GET /\r\n\r\n',
    `GET  /healthz HTTP/1.1\r\nHost: ${host}\r\n\r\n`,
    `GET /healthz HTTP/1.1\nHost: ${host}\n\n`,
    `GET /v1/keys/${'x'.repeat(30_000)} HTTP/1.1\r\nHost: ${host}\r\n\r\n`,
    `GET /\u00ff HTTP/1.1\r\nHost: ${host}\r\n\r\n`,
    `${chance.of(METHODS)} /v1/keys/odd/method HTTP/1.1\r\nHost: ${host}\r\n\r\n`,
    `CONNECT ${host} HTTP/1.1\r\nHost: ${host}\r\n\r\n`,
    `GET ftp://${host}/ HTTP/1.1\r\nHost: ${host}\r\n\r\n`,
    `GET http:///healthz HTTP/1.1\r\nHost: ${host}\r\n\r\n`,
    `GET /v1/changes HTTP/1.1\r\nHost: ${host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: ${chance.of(['13', '8', '', '99'])}\r\nSec-WebSocket-Key: ${chance.of(['dGhlIHNhbXBsZSBub25jZQ==', 'x', ''])}\r\nSec-WebSocket-Protocol: ${chance.of(['psync.v1.json', 'psync.v1', 'x,,', ''])}\r\n\r\n`,
    `GET /v1/keys/constructor HTTP/1.1\r\nHost: ${host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n`,
    `GET /v1/replication/stream HTTP/1.1\r\nHost: ${host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: psync.v1\r\n\r\n\u0082\u00ff\u00ff`,
    'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n',
    Buffer.from('16030100a5010000a10303', 'hex'),
    '*1\r\n$4\r\nPING\r\n',
    '\r\n'.repeat(100),
    chance.bytes(1 + chance.below(300)),
  ];
  const choice = chance.of(choices);
  return Buffer.isBuffer(choice) ? choice : Buffer.from(choice, 'latin1');
}
