/** Metrics of the node itself: what it is, and its process. */
import { flag, type Metric, value } from '../metric.ts';

export const NODE: readonly Metric[] = [
  {
    name: 'psyncd_build_info',
    help: 'Always 1; the labels name the versions of psyncd and of Node',
    kind: 'gauge',
    labels: ['version', 'node'],
    read: ({ version }) => [{ labels: { version, node: process.versions.node }, value: 1 }],
  },
  {
    name: 'psyncd_node_info',
    help: 'Always 1; the labels name the URL under which other nodes know this one, its role and its run ID',
    kind: 'gauge',
    labels: ['name', 'role', 'run_id'],
    read: ({ name, node: { role, runId } }) => [{ labels: { name, role, run_id: runId }, value: 1 }],
  },
  {
    name: 'psyncd_start_time_seconds',
    help: 'When the process started, in seconds since 1970',
    kind: 'gauge',
    read: ({ startedAt }) => value(startedAt),
  },
  {
    name: 'psyncd_role',
    help: '1 for the role that the node has, 0 for the other',
    kind: 'gauge',
    labels: ['role'],
    read: ({ node }) =>
      ['master', 'replica'].map((role) => ({ labels: { role }, value: node.role === role ? 1 : 0 })),
  },
  {
    name: 'psyncd_writable',
    help: '1 if the node takes writes, and its last commit did not fail because the disk was full, else 0',
    kind: 'gauge',
    read: ({ node, state }) => flag(node.isWritable && !state.journal.isFull),
  },
  {
    name: 'psyncd_ready',
    help: '1 if /readyz answers 200, else 0',
    kind: 'gauge',
    read: ({ node }) => flag(node.isReady),
  },
  {
    name: 'psyncd_event_loop_delay_seconds',
    help: 'How much later than asked the event loop ran timers in the last five seconds; quantile 1 is the longest delay',
    kind: 'summary',
    labels: ['quantile'],
    read: ({ loopLag }) => [
      { labels: { quantile: '0.99' }, value: loopLag.p99Ms / 1_000 },
      { labels: { quantile: '1' }, value: loopLag.maxMs / 1_000 },
    ],
  },
  {
    name: 'process_cpu_seconds_total',
    help: 'Processor time of the process, of all threads, in seconds',
    kind: 'counter',
    read: ({ cpuSeconds }) => value(cpuSeconds),
  },
  {
    name: 'process_start_time_seconds',
    help: 'When the process started, in seconds since 1970, under the name that tools for all processes look for',
    kind: 'gauge',
    read: ({ startedAt }) => value(startedAt),
  },
  {
    name: 'process_resident_memory_bytes',
    help: 'Resident memory of the process',
    kind: 'gauge',
    read: ({ memory }) => value(memory?.rss ?? null),
  },
  {
    name: 'nodejs_heap_size_total_bytes',
    help: 'Size of the JavaScript heap of the main thread',
    kind: 'gauge',
    read: ({ memory }) => value(memory?.heapTotal ?? null),
  },
  {
    name: 'nodejs_heap_size_used_bytes',
    help: 'Used part of the JavaScript heap of the main thread',
    kind: 'gauge',
    read: ({ memory }) => value(memory?.heapUsed ?? null),
  },
  {
    name: 'nodejs_external_memory_bytes',
    help: 'Memory outside the heap that belongs to JavaScript objects, buffers included',
    kind: 'gauge',
    read: ({ memory }) => value(memory?.external ?? null),
  },
];
