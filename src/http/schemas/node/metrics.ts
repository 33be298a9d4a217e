/** The answer of `/metrics`. */
import { HEADERS } from '../common/headers.ts';

export const EXAMPLE_METRICS = [
  '# HELP psyncd_writable Whether the node takes writes',
  '# TYPE psyncd_writable gauge',
  'psyncd_writable{cluster="shop"} 1',
  '',
].join('\n');

export const metricsText = {
  description: 'All metrics, in the text format of Prometheus.',
  headers: HEADERS,
  content: { 'text/plain': { schema: { type: 'string' }, example: EXAMPLE_METRICS } },
} as const;
