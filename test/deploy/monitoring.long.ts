/** examples/monitoring with Debian's Prometheus and real nodes, in the place of the containers of compose.yaml. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { copyFile, writeFile } from 'node:fs/promises';
import { get } from 'node:http';
import { join } from 'node:path';
import test from 'node:test';
import { fileURLToPath } from 'node:url';
import { parse } from 'yaml';
import type { ChildNode } from '../../src/cli/child-node.ts';
import { until } from '../../src/cli/until.ts';
import { Cluster, temporaryFolder } from '../support/cluster.ts';
import { keptPort } from '../support/kept-port.ts';
import { ALL_INSTALLED, replaced, startProgram } from '../support/program.ts';

const FOLDER = fileURLToPath(new URL('../../examples/monitoring/', import.meta.url));
const skip =
  spawnSync('prometheus', ['--version']).status !== 0 && !ALL_INSTALLED && 'prometheus is not installed';

interface Answer {
  readonly data: {
    readonly result: readonly { readonly metric: Readonly<Record<string, string>> }[];
    readonly groups: readonly {
      readonly rules: readonly { readonly name: string; readonly health: string }[];
    }[];
  };
}

/** Starts the nodes of compose.yaml with their settings, except for addresses and folders. */
async function composed(cluster: Cluster): Promise<ReadonlyMap<string, ChildNode>> {
  const { services } = parse(readFileSync(join(FOLDER, 'compose.yaml'), 'utf8'), { merge: true }) as {
    services: Record<
      string,
      { readonly environment?: Readonly<Record<string, string>>; readonly entrypoint?: readonly string[] }
    >;
  };
  const nodes = new Map<string, ChildNode>();
  for (const [name, { environment = {}, entrypoint = [] }] of Object.entries(services)) {
    if (!name.startsWith('node')) continue;
    const upstream = /--replica-of (ws:[^']+)/.exec(entrypoint.join(' '))?.[1];
    const master = upstream === undefined ? undefined : nodes.get(new URL(upstream).hostname);
    assert.equal(upstream === undefined, master === undefined, `${name} follows ${upstream}`);
    const flags = ['--host', '127.0.0.1', '--metrics-listen', '127.0.0.1:0'];
    if (master !== undefined) flags.push('--replica-of', master.wsUrl);
    nodes.set(name, await cluster.startWith(environment, name, ...flags));
  }
  return nodes;
}

/** @returns the status of a request with this `Host`, as a container sends it to another one */
function asked(url: string, host: string): Promise<number | undefined> {
  return new Promise((resolve, reject) => {
    get(url, { headers: { host } }, (response) => {
      response.resume();
      resolve(response.statusCode);
    }).on('error', reject);
  });
}

test('Prometheus finds the nodes of compose.yaml and their roles, and evaluates every alert', {
  skip,
}, async (t) => {
  const nodes = await composed(await Cluster.create(t));
  assert.equal(nodes.size, 3);
  for (const [name, { metricsUrl, url }] of nodes) {
    assert.equal(await asked(metricsUrl as string, `${name}:9151`), 200, 'Prometheus names the container');
    assert.equal(await asked(`${url}/v1/replication`, `${name}:7796`), 200, 'replicas name the container');
  }
  const folder = await temporaryFolder(t);
  const targets = [...nodes].map(
    ([name, { metricsUrl }]) => [`${name}:9151`, new URL(metricsUrl as string).host] as const,
  );
  const configuration = readFileSync(join(FOLDER, 'prometheus.yml'), 'utf8');
  await writeFile(join(folder, 'prometheus.yml'), replaced(configuration, [[/\b15s\b/g, '1s'], ...targets]));
  await copyFile(join(FOLDER, 'alerts.yml'), join(folder, 'alerts.yml'));
  const kept = await keptPort();
  t.after(() => kept.release());
  const base = `http://127.0.0.1:${kept.port}`;
  const flags = [
    `--config.file=${join(folder, 'prometheus.yml')}`,
    `--storage.tsdb.path=${join(folder, 'data')}`,
    `--web.listen-address=127.0.0.1:${kept.port}`,
  ];
  await startProgram(t, ['prometheus', ...flags], folder, async () => (await fetch(`${base}/-/ready`)).ok);
  const ask = async (path: string): Promise<Answer['data']> => {
    return ((await (await fetch(`${base}/api/v1/${path}`)).json()) as Answer).data;
  };
  const count = async (query: string): Promise<number> => {
    return (await ask(`query?query=${encodeURIComponent(query)}`)).result.length;
  };
  await until('every node is scraped', async () => (await count('up{job="psyncd"} == 1')) === nodes.size);
  await until(
    'the roles are known',
    async () => (await count('psyncd_role{cluster="demo",role="replica"} == 1')) === 2,
  );
  assert.equal(await count('psyncd_role{cluster="demo",role="master"} == 1'), 1);
  const written = parse(readFileSync(join(FOLDER, 'alerts.yml'), 'utf8')) as {
    groups: { rules: unknown[] }[];
  };
  const rules = await until('the rules are evaluated', async () => {
    const found = (await ask('rules')).groups.flatMap(({ rules }) => rules);
    return found.every(({ health }) => health !== 'unknown') && found;
  });
  assert.equal(rules.length, written.groups.flatMap(({ rules }) => rules).length);
  for (const { name, health } of rules) assert.equal(health, 'ok', name);
});
