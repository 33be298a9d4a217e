/** Reads what `/metrics` answers. */
import assert from 'node:assert/strict';

export interface Series {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

const LINE = /^([a-z_]+)(?:\{(.*)\})? (\S+)$/;
const LABEL = /([a-z_]+)="((?:[^"\\]|\\.)*)"(?:,|$)/g;

export interface Scraped {
  /** Names and kinds, in order. */
  readonly metrics: ReadonlyMap<string, string>;
  readonly series: readonly Series[];
  readonly text: string;
}

export function parsed(text: string): Scraped {
  const metrics = new Map<string, string>();
  const series: Series[] = [];
  for (const line of text.split('\n')) {
    const [, name, kind] = /^# TYPE (\S+) (\S+)$/.exec(line) ?? [];
    if (name !== undefined && kind !== undefined) metrics.set(name, kind);
    if (line === '' || line.startsWith('#')) continue;
    const found = LINE.exec(line);
    assert.ok(found !== null, line);
    const labels = Object.fromEntries(
      [...(found[2] ?? '').matchAll(LABEL)].map(([, key, value]) => [key, value]),
    );
    const value = found[3] === '+Inf' ? Number.POSITIVE_INFINITY : Number(found[3]);
    assert.ok(!Number.isNaN(value), line);
    series.push({ name: found[1] as string, labels, value });
  }
  return { metrics, series, text };
}

/** @param url of a node @throws AssertionError if the answer is not 200 */
export async function scraped(url: string): Promise<Scraped> {
  const answer = await fetch(`${url}/metrics`);
  assert.equal(answer.status, 200);
  assert.equal(answer.headers.get('content-type'), 'text/plain; version=0.0.4; charset=utf-8');
  return parsed(await answer.text());
}

/** @returns the value of the one series with this name and these labels; undefined: there is none */
export function valueIn(
  { series }: Scraped,
  name: string,
  labels: Readonly<Record<string, string>> = {},
): number | undefined {
  const found = series.filter(
    (each) =>
      each.name === name && Object.entries(labels).every(([key, value]) => each.labels[key] === value),
  );
  assert.ok(found.length < 2, `${name} is there ${found.length} times`);
  return found[0]?.value;
}
