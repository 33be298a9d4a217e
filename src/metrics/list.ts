/** All metrics, in the order in which docs/metrics.md and a scrape show them. */
import { NODE } from './list/node.ts';
import { REPLICATION } from './list/replication.ts';
import { REQUESTS } from './list/requests.ts';
import { STORAGE } from './list/storage.ts';
import type { Metric } from './metric.ts';

/** By the headings of docs/metrics.md. */
export const GROUPS: Readonly<Record<string, readonly Metric[]>> = {
  'Node and process': NODE,
  'Requests and writes': REQUESTS,
  Replication: REPLICATION,
  Storage: STORAGE,
};

export const METRICS: readonly Metric[] = Object.values(GROUPS).flat();
