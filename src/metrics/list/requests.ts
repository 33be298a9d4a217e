/** Metrics of requests and writes, and of who is refused. */
import { type Metric, named, value } from '../metric.ts';

export const REQUESTS: readonly Metric[] = [
  {
    name: 'psyncd_http_requests_total',
    help: 'Requests by route, method and status; `none`: the connection ended before the answer began; 101: WebSockets that were opened',
    kind: 'counter',
    labels: ['route', 'method', 'code'],
    read: ({ requests }) => requests.counts.map(({ count, ...labels }) => ({ labels, value: count })),
  },
  {
    name: 'psyncd_http_request_duration_seconds',
    help: 'Time from the arrival of a request until its answer was sent; without /v1/changes, which lasts as long as somebody follows',
    kind: 'histogram',
    labels: ['route', 'method'],
    read: ({ requests }) => requests.durations.map(({ took, ...labels }) => ({ labels, took })),
  },
  {
    name: 'psyncd_writes_total',
    help: 'Writes that the journal has, by kind; a batch counts once, and `expire-due` are deletions of expired entries',
    kind: 'counter',
    labels: ['kind'],
    read: ({ node }) => named('kind', node.writes.counts.written.counts),
  },
  {
    name: 'psyncd_write_refusals_total',
    help: 'Writes that a write turn has refused, by the code of the problem; a replica redirects most writes before',
    kind: 'counter',
    labels: ['code'],
    read: ({ node }) => named('code', node.writes.counts.refused.counts),
  },
  {
    name: 'psyncd_write_turn_seconds',
    help: 'How long write turns took; the event loop does nothing else meanwhile',
    kind: 'histogram',
    read: ({ node }) => [{ took: node.writes.turns }],
  },
  {
    name: 'psyncd_write_turn_waiting_bytes',
    help: 'Memory of the writes that wait for a turn',
    kind: 'gauge',
    read: ({ node }) => value(node.writes.waitingBytes),
  },
  {
    name: 'psyncd_auth_failures_total',
    help: 'Requests without a valid token or certificate on a node that needs one, by reason',
    kind: 'counter',
    labels: ['reason'],
    read: ({ authFailures }) => named('reason', authFailures.counts),
  },
  {
    name: 'psyncd_rate_limited_total',
    help: 'What the limits of one client have refused, by limit: requests, connections, followers',
    kind: 'counter',
    labels: ['limit'],
    read: ({ limited }) => named('limit', limited.counts),
  },
  {
    name: 'psyncd_tls_certificate_expiry_timestamp_seconds',
    help: 'When the certificate expires that new connections get, in seconds since 1970',
    kind: 'gauge',
    labels: ['role'],
    read: ({ tls }) =>
      tls === null
        ? []
        : [{ labels: { role: 'server' }, value: tls.certificate.validToDate.getTime() / 1_000 }],
  },
  {
    name: 'psyncd_tls_reloads_total',
    help: 'How often changed files for TLS were taken over (`used`), and could not be used (`failed`)',
    kind: 'counter',
    labels: ['result'],
    read: ({ tls }) => (tls === null ? [] : named('result', tls.reloads.counts)),
  },
];
