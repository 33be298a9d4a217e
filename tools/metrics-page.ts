/** Makes docs/metrics.md from the list of metrics in src/metrics/list. */
import { GROUPS } from '../src/metrics/list.ts';
import type { Metric } from '../src/metrics/metric.ts';

export function metricsPage(): string {
  const groups = Object.entries(GROUPS).map(([heading, metrics]) => table(heading, metrics));
  return `${INTRODUCTION}\n${groups.join('\n')}`;
}

const INTRODUCTION = `<!-- Made by tools/docs.ts from src/metrics/list: run \`npm run docs\` after a change there. -->

# Metrics

\`GET /metrics\` answers in the text format of Prometheus. [deploy.md](deploy.md#metrics) says how to scrape it;
[examples/monitoring](../examples/monitoring/README.md) has alerts and a dashboard. With \`--cluster NAME\` every series has the label \`cluster\`.

- No label holds a key, a token or the name of a client. \`replica\` is the URL that a connected replica announces, else its address.
- Counters begin at 0 with the process; \`psyncd info reset\` leaves them alone. A series of a counter appears when it is first raised.
- A scrape reads what the node counts anyway, at that moment. Only if scrapes come many times a second, several of them get one text,
  which is at most a second old: in the long run the making of texts takes no more than a quarter of a percent of the event loop.
- With \`--metrics-listen\` a thread of its own answers, so that scrapes do not slow requests down. If the event loop is so busy that
  the thread gets no text in five seconds, a scrape is 503: a node that is stuck does not look like one that is well.
- A histogram has \`_bucket\` (with \`le\`), \`_sum\` and \`_count\`.
- There is no metric of the number of entries, nor of those that expire: SQLite counts them one by one, in a time that grows with them,
  and a count that each write keeps would cost the write a look whether the key is there. \`GET /v1/digest\` tells the number.
`;

function table(heading: string, metrics: readonly Metric[]): string {
  const rows = metrics.map(({ name, kind, labels = [], help }) => {
    const named = labels.map((label) => `\`${label}\``).join(', ');
    return `| \`${name}\` | ${kind} | ${named} | ${help} |`;
  });
  return [`## ${heading}`, '', '| name | kind | labels | meaning |', '|---|---|---|---|', ...rows, ''].join(
    '\n',
  );
}
