/** Writes the metrics in the text format of Prometheus. Loaded at the first scrape, because the library takes time to load. */
import { Counter, Gauge, type Metric as Registered, Registry } from '@prometheus-io/client';
import type { Durations } from '../node/ports/counts.ts';
import { METRICS } from './list.ts';
import type { Histogram, Labels, Metric, Single } from './metric.ts';
import { type Snapshot, type Sources, takeSnapshot } from './snapshot.ts';

export class Exposition {
  readonly #registry = new Registry();
  readonly #sources: Sources;
  #snapshot: Snapshot | null = null;

  constructor(sources: Sources, metrics: readonly Metric[] = METRICS) {
    this.#sources = sources;
    if (sources.cluster !== null) this.#registry.setDefaultLabels({ cluster: sources.cluster });
    for (const metric of metrics) {
      if (metric.kind === 'histogram') this.#addHistogram(metric);
      else if (metric.kind === 'summary') this.#addSummary(metric);
      else this.#addSingle(metric);
    }
  }

  /**
   * @param name the URL under which other nodes know this one
   * @param diskFreeBytes bytes that the node may still write; null: the system does not tell
   */
  snapshot(name: string, diskFreeBytes: number | null): Snapshot {
    return takeSnapshot(this.#sources, name, diskFreeBytes);
  }

  /** The text of one scrape. Only one may be made at a time. */
  async text(snapshot: Snapshot): Promise<string> {
    this.#snapshot = snapshot;
    return this.#registry.metrics();
  }

  get contentType(): string {
    return this.#registry.contentType;
  }

  get #now(): Snapshot {
    if (this.#snapshot === null) throw new Error('nobody scrapes');
    return this.#snapshot;
  }

  #addSingle({ name, help, kind, labels = [], read }: Single): void {
    const configuration = { name, help, labelNames: [...labels], registers: [this.#registry] };
    if (kind === 'gauge') {
      const gauge: Gauge<string> = new Gauge<string>({
        ...configuration,
        collect: () => {
          gauge.reset();
          if (labels.length === 0) gauge.remove();
          for (const sample of read(this.#now)) gauge.set(sample.labels ?? {}, sample.value);
        },
      });
      return;
    }
    const counter: Counter<string> = new Counter<string>({
      ...configuration,
      collect: () => {
        counter.reset();
        for (const sample of read(this.#now)) counter.inc(sample.labels ?? {}, sample.value);
      },
    });
  }

  #addSummary({ name, help, read }: Single): void {
    this.#add(name, help, 'summary', (now) =>
      read(now).map(({ labels = {}, value }) => ({ metricName: name, labels, value })),
    );
  }

  #addHistogram({ name, help, read }: Histogram): void {
    this.#add(name, help, 'histogram', (now) =>
      read(now).flatMap(({ labels = {}, took }) => series(name, labels, took)),
    );
  }

  /** The library's own histograms and summaries count by themselves, and take no counts. */
  #add(
    name: string,
    help: string,
    type: 'histogram' | 'summary',
    valuesAt: (now: Snapshot) => readonly Value[],
  ): void {
    const described = { name, help, type, aggregator: 'sum' };
    const metric = { ...described, get: async () => ({ ...described, values: valuesAt(this.#now) }) };
    this.#registry.registerMetric(metric as unknown as Registered);
  }
}

interface Value {
  readonly metricName: string;
  readonly labels: Labels;
  readonly value: number;
}

/** @returns what the text has of one histogram: how many values were at most each bound, the sum, and the number of all */
function series(name: string, labels: Labels, took: Durations): readonly Value[] {
  const ranges = rangesOf(took).map(([le, value]) => ({
    metricName: `${name}_bucket`,
    labels: { ...labels, le },
    value,
  }));
  const count = ranges.at(-1)?.value ?? 0;
  return [
    ...ranges,
    { metricName: `${name}_sum`, labels, value: took.seconds },
    { metricName: `${name}_count`, labels, value: count },
  ];
}

/** @returns the upper end of each range, and how many values were at most that */
function rangesOf({ bounds, counts }: Durations): readonly (readonly [string, number])[] {
  let sum = 0;
  return counts.map((count, index) => {
    sum += count;
    const bound = bounds[index];
    return [bound === undefined ? '+Inf' : String(bound), sum];
  });
}
