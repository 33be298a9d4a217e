/** What is written and read: the same in every measurement and for every server. */

/** Keys that requests are spread over. */
export const KEYS = 100_000;
export const CONNECTIONS = 64;

/** 100 bytes of text, so that NDJSON needs no base64. */
export const VALUE = 'psyncd keeps what you write. '.repeat(4).slice(0, 100);

const DIGITS = 9;
const CHUNK_LINES = 1_000;

/** All keys have one length, so that the bytes of a request do not depend on which key it names. */
export function keyAt(index: number): string {
  return `bench:${String(index).padStart(DIGITS, '0')}`;
}

function lineAt(index: number): string {
  return `${JSON.stringify({ key: keyAt(index), value: VALUE })}\n`;
}

/** The first keys as `POST /v1/import` takes them. */
export function* ndjson(entries: number): Generator<Buffer> {
  for (let from = 0; from < entries; from += CHUNK_LINES) {
    const lines = Array.from({ length: Math.min(CHUNK_LINES, entries - from) }, (_, at) => lineAt(from + at));
    yield Buffer.from(lines.join(''));
  }
}
