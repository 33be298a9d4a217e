/** examples/monitoring: the alerts, the dashboard and the compose file fit the metrics and settings that there are. */
import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import test from 'node:test';
import { fileURLToPath } from 'node:url';
import { parse } from 'yaml';
import { METRICS } from '../src/metrics/list.ts';
import { loadSettings } from '../src/settings/load.ts';
import { variableOf } from '../src/settings/setting.ts';
import { SETTINGS } from '../src/settings/table.ts';
import { temporaryFolder } from './support/cluster.ts';
import { NO_PROMTOOL, promtool } from './support/promtool.ts';

const FOLDER = fileURLToPath(new URL('../examples/monitoring/', import.meta.url));

/** How a panel names the data source that the reader has chosen. */
const SOURCE = `\${datasource}`;

interface Rule {
  readonly alert: string;
  readonly expr: string;
}

interface Panel {
  readonly id: number;
  readonly type: string;
  readonly title: string;
  readonly datasource?: { readonly uid: string };
  readonly targets?: readonly {
    readonly expr: string;
    readonly legendFormat: string;
    readonly datasource: { readonly uid: string };
  }[];
}

interface Dashboard {
  readonly templating: { readonly list: readonly { readonly name: string; readonly type: string }[] };
  readonly panels: readonly Panel[];
}

function read(name: string): string {
  return readFileSync(join(FOLDER, name), 'utf8');
}

const rules = (parse(read('alerts.yml')) as { groups: { rules: Rule[] }[] }).groups.flatMap(
  ({ rules }) => rules,
);
const dashboard = JSON.parse(read('dashboard.json')) as Dashboard;
const targets = dashboard.panels.flatMap(({ targets = [] }) => targets);

/** Labels that Prometheus or the setting `cluster` adds. */
const ADDED = ['cluster', 'instance', 'job'];
/** The labels of each series by its name; a histogram is published as three. */
const SERIES = new Map<string, readonly string[]>(
  METRICS.flatMap(({ name, kind, labels = [] }) =>
    kind === 'histogram'
      ? [
          [`${name}_bucket`, [...labels, 'le']],
          [`${name}_sum`, labels],
          [`${name}_count`, labels],
        ]
      : [[name, labels]],
  ),
);

/** @throws AssertionError if the query names a series or a label that no node publishes */
function checkQuery(expr: string): void {
  const selectors = [...expr.matchAll(/\b((?:psyncd|process|nodejs)_[a-z_]+)(?:\{([^}]*)\})?/g)];
  assert.ok(selectors.length > 0 || expr.startsWith('up{'), expr);
  const known = new Set(ADDED);
  for (const [, name = '', matchers = ''] of selectors) {
    const labels = SERIES.get(name);
    assert.ok(labels !== undefined, `${name} is no metric: ${expr}`);
    for (const label of labels) known.add(label);
    for (const [, label = ''] of matchers.matchAll(/(\w+)(?:=~|!~|!=|=)"/g))
      assert.ok([...labels, ...ADDED].includes(label), `${name} has no label ${label}: ${expr}`);
  }
  for (const [, list = ''] of expr.matchAll(/\bby \(([^)]*)\)/g))
    for (const label of list.split(', '))
      assert.ok(known.has(label), `nothing has the label ${label}: ${expr}`);
}

test('every query of the rules, of their tests and of the dashboard names metrics and labels that nodes publish', () => {
  for (const { expr } of [...rules, ...targets]) checkQuery(expr);
  for (const [, series = ''] of read('alerts.test.yml').matchAll(/series: '([^']+)'/g)) checkQuery(series);
  for (const { expr, legendFormat } of targets)
    for (const [, label = ''] of legendFormat.matchAll(/\{\{(\w+)\}\}/g))
      assert.match(expr, new RegExp(`by \\([^)]*\\b${label}\\b|^(?!.*\\bby \\()`), `${label} in ${expr}`);
});

test('each alert has a test', () => {
  const tested = new Set([...read('alerts.test.yml').matchAll(/alertname: (\w+)/g)].map(([, name]) => name));
  assert.deepEqual(rules.map(({ alert }) => alert).sort(), [...tested].sort());
});

test('the rules are valid, and fire when they should', { skip: NO_PROMTOOL }, () => {
  for (const args of [
    ['check', 'rules', join(FOLDER, 'alerts.yml')],
    ['test', 'rules', join(FOLDER, 'alerts.test.yml')],
    ['check', 'config', join(FOLDER, 'prometheus.yml')],
  ]) {
    const { status, output } = promtool(args);
    assert.equal(status, 0, output);
  }
});

test('the dashboard can be provisioned from its file, for any data source', () => {
  assert.doesNotMatch(read('dashboard.json'), /__inputs|__requires/);
  assert.deepEqual(
    dashboard.templating.list.map(({ name, type }) => [name, type]),
    [
      ['datasource', 'datasource'],
      ['cluster', 'query'],
      ['instance', 'query'],
    ],
  );
  const { panels } = dashboard;
  assert.equal(new Set(panels.map(({ id }) => id)).size, panels.length);
  for (const { datasource, type, title } of panels)
    if (type !== 'row') assert.equal(datasource?.uid, SOURCE, title);
  for (const { datasource, expr } of targets) assert.equal(datasource.uid, SOURCE, expr);
});

test('Prometheus understands every query of the dashboard', { skip: NO_PROMTOOL }, async (t) => {
  const file = join(await temporaryFolder(t), 'queries.json');
  const filled = targets.map(({ expr }, index) => ({
    record: `query:${index}`,
    expr: expr
      .replaceAll('$__rate_interval', '5m')
      .replaceAll('$cluster', '.*')
      .replaceAll('$instance', '.*'),
  }));
  // JSON is YAML.
  await writeFile(file, JSON.stringify({ groups: [{ name: 'dashboard', rules: filled }] }));
  const { status, output } = promtool(['check', 'rules', file]);
  assert.equal(status, 0, output);
});

interface Service {
  readonly environment?: Readonly<Record<string, string>>;
  readonly volumes?: readonly string[];
}

test('the compose file names settings, files and nodes that there are', () => {
  const { services } = parse(read('compose.yaml'), { merge: true }) as { services: Record<string, Service> };
  const nodes = Object.entries(services).filter(([name]) => name.startsWith('node'));
  assert.equal(nodes.length, 3);
  const known = new Set(SETTINGS.map(({ name }) => variableOf(name)));
  for (const [name, { environment = {} }] of nodes) {
    for (const variable of Object.keys(environment)) assert.ok(known.has(variable), variable);
    const { announceUrl, cluster, metricsListen } = loadSettings({}, environment, null);
    assert.deepEqual([announceUrl, cluster, metricsListen?.port], [`ws://${name}:7796`, 'demo', 9151]);
    assert.ok(read('prometheus.yml').includes(`"${name}:${metricsListen?.port}"`), name);
  }
  const mounted = Object.values(services).flatMap(({ volumes = [] }) => volumes);
  for (const source of mounted.map((volume) => volume.split(':')[0] ?? ''))
    if (source.startsWith('.')) assert.ok(existsSync(join(FOLDER, source)), source);
});
