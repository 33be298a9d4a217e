/** examples/monitoring: the alerts, the dashboard and the compose file fit the metrics and settings that there are. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import test from 'node:test';
import { fileURLToPath } from 'node:url';
import { parse } from 'yaml';
import { METRICS } from '../src/metrics/list.ts';
import { loadSettings } from '../src/settings/load.ts';
import { parseTime } from '../src/settings/parse.ts';
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
  readonly annotations: Readonly<Record<string, string>>;
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

/** How GitHub and npm name the section under a heading. */
function anchorOf(heading: string): string {
  return heading
    .toLowerCase()
    .replace(/[^\p{L}\p{N} _-]/gu, '')
    .replaceAll(' ', '-');
}

test('each alert says what it means, and names a section of the documents that is there', () => {
  for (const { alert, annotations } of rules) {
    const { description = '', runbook = '', summary } = annotations;
    assert.notEqual(summary, undefined, alert);
    assert.notEqual(description, '', alert);
    const [file = '', anchor] = runbook.split('#');
    const path = fileURLToPath(new URL(`../${file}`, import.meta.url));
    assert.match(file, /^docs\/[a-z-]+\.md$/, alert);
    const headings = [...readFileSync(path, 'utf8').matchAll(/^#+ (.+)$/gm)].map(([, text = '']) =>
      anchorOf(text),
    );
    if (anchor !== undefined) assert.ok(headings.includes(anchor), `${alert}: ${runbook}`);
  }
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
  readonly image?: string;
  readonly build?: { readonly context: string; readonly dockerfile: string };
  readonly stop_grace_period?: string;
  readonly ports: readonly string[];
  readonly entrypoint?: readonly string[];
  readonly environment?: Readonly<Record<string, string>>;
  readonly volumes?: readonly string[];
}

interface Compose {
  readonly services: Readonly<Record<string, Service>>;
  readonly volumes: Readonly<Record<string, null>>;
}

const compose = parse(read('compose.yaml'), { merge: true }) as Compose;
/** Port that a program listens on within its container, by image. */
const LISTENS: Readonly<Record<string, number>> = { 'prom/prometheus': 9090, 'grafana/grafana': 3000 };
/** Time that a node needs after the wait for its replicas, in milliseconds (docs/deploy.md). */
const NEEDED_MS = 5_000;

test('the compose file names settings, files and nodes that there are', () => {
  const { services } = compose;
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

test('the compose file publishes to this machine only what its programs listen on, from images of one version', () => {
  const published = new Set<string>();
  for (const [name, { image, build, ports, stop_grace_period: grace }] of Object.entries(compose.services)) {
    let listens: number | undefined;
    if (image === undefined) {
      assert.ok(build !== undefined && grace !== undefined, name);
      const context = join(FOLDER, build.context);
      assert.ok(existsSync(join(context, 'package.json')), build.context);
      const dockerfile = readFileSync(join(context, build.dockerfile), 'utf8');
      listens = Number(/^EXPOSE (\d+)$/m.exec(dockerfile)?.[1]);
      const waits = parseTime(/PSYNCD_SHUTDOWN_TIMEOUT=(\S+)/.exec(dockerfile)?.[1] ?? '');
      assert.ok(waits + NEEDED_MS <= parseTime(grace), `${name} is killed before it has stopped`);
    } else {
      const [repository = '', version = ''] = image.split(':');
      assert.match(version, /^v?\d+\.\d+\.\d+$/, image);
      listens = LISTENS[repository];
    }
    for (const port of ports) {
      const [address, outside = '', inside] = port.split(':');
      assert.deepEqual([address, Number(inside)], ['127.0.0.1', listens], name);
      assert.ok(!published.has(outside), outside);
      published.add(outside);
    }
  }
});

test('the files and folders of the compose file stand where its programs look for them', () => {
  const { prometheus, grafana } = compose.services;
  const placeOf = (service: Service | undefined, source: string): string =>
    service?.volumes?.find((volume) => volume.startsWith(`./${source}:`))?.split(':')[1] ?? '';
  const { rule_files: ruleFiles } = parse(read('prometheus.yml')) as { rule_files: string[] };
  assert.equal(placeOf(prometheus, 'prometheus.yml'), '/etc/prometheus/prometheus.yml');
  for (const file of ruleFiles) assert.equal(placeOf(prometheus, file), `/etc/prometheus/${file}`);
  const provisioning = '/etc/grafana/provisioning';
  assert.equal(placeOf(grafana, 'grafana/datasource.yml'), `${provisioning}/datasources/datasource.yml`);
  assert.equal(placeOf(grafana, 'grafana/dashboards.yml'), `${provisioning}/dashboards/dashboards.yml`);
  const { datasources } = parse(read('grafana/datasource.yml')) as {
    datasources: { type: string; url: string }[];
  };
  assert.deepEqual(
    datasources.map(({ type, url }) => [type, url]),
    [['prometheus', 'http://prometheus:9090']],
  );
  const { providers } = parse(read('grafana/dashboards.yml')) as {
    providers: { options: { path: string } }[];
  };
  const [provider] = providers;
  assert.equal(dirname(placeOf(grafana, 'dashboard.json')), provider?.options.path);
  const named = Object.values(compose.services)
    .flatMap(({ volumes = [] }) => volumes)
    .map((volume) => volume.split(':')[0] ?? '')
    .filter((source) => !source.startsWith('.'));
  assert.deepEqual(named.sort(), Object.keys(compose.volumes).sort(), 'each has a volume of its own');
});
test('a replica of the compose file gets its master only in a new folder, so that a hand-over outlives down and up', async (t) => {
  const { services } = parse(read('compose.yaml'), { merge: true }) as { services: Record<string, Service> };
  const folder = await temporaryFolder(t);
  const script = join(folder, 'psyncd');
  await writeFile(script, '#!/bin/sh\necho "$@"\n', { mode: 0o700 });
  const started = (words: readonly string[]): string => {
    const [command = '', ...rest] = words.map((word) =>
      word.replaceAll('/data', folder).replaceAll('$$', '$'),
    );
    const env = { PATH: `${folder}:${process.env.PATH}` };
    return spawnSync(command, rest, { env, encoding: 'utf8' }).stdout.trim();
  };
  for (const name of ['node2', 'node3']) {
    const { entrypoint = [], environment = {} } = services[name] ?? {};
    assert.equal(environment.PSYNCD_REPLICA_OF, undefined);
    await rm(join(folder, 'psyncd.db'), { force: true });
    assert.equal(started(entrypoint), 'serve --replica-of ws://node1:7796');
    await writeFile(join(folder, 'psyncd.db'), '');
    assert.equal(started(entrypoint), 'serve');
  }
});
