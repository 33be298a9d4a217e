/** The keys and values that all measurements use, with every server. */

/** Number of keys among which requests choose. */
export const KEYS = 100_000;
export const CONNECTIONS = 64;

/** The value of every entry: 100 bytes of text, so that NDJSON needs no base64. */
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

/** Yields the first `entries` keys as lines for `POST /v1/import`. */
export function* ndjson(entries: number): Generator<Buffer> {
  for (let from = 0; from < entries; from += CHUNK_LINES) {
    const lines = Array.from({ length: Math.min(CHUNK_LINES, entries - from) }, (_, at) => lineAt(from + at));
    yield Buffer.from(lines.join(''));
  }
}
