/**
 * `npm run sdk`: installs the generators of clients of clients/package.json, lets each make a client of openapi.yaml as it is,
 * compiles it under `strict` with the adapter in its folder, tries it against a master and a replica, and writes the table in
 * docs/sdk.md. Exit code 1: one of them cannot do something. `npm run sdk -- NAME …` tries only these and writes nothing.
 *
 * The generators are no part of the root's packages, because they are many and the short tests do not need them.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { build } from 'rolldown';
import { parse } from 'yaml';
import { ChildNode } from '../../src/cli/child-node.ts';
import { MAIN } from '../support/main-file.ts';
import type { Connect } from './clients/adapter.ts';
import { GENERATORS, type Generator } from './generators.ts';
import { TRIALS, trials } from './live.ts';
import { writeTable } from './table.ts';

const CLIENTS = fileURLToPath(new URL('clients/', import.meta.url));
const ROOT = join(CLIENTS, '..', '..', '..');
const DOCUMENT = join(ROOT, 'openapi.yaml');
const ENVIRONMENT = {
  ...process.env,
  PATH: [join(CLIENTS, 'node_modules', '.bin'), dirname(process.execPath), process.env.PATH].join(delimiter),
  // None of them has to tell anybody that it runs.
  DO_NOT_TRACK: '1',
  KUBB_DISABLE_TELEMETRY: '1',
  CI: '1',
};
/** Longest time that a generator or the compiler may take, in milliseconds. */
const LIMIT_MS = 180_000;
const COLUMNS = ['generates', 'compiles', ...TRIALS] as const;

/** What a generator could do: by column nothing, or why not. */
export type Found = Readonly<Partial<Record<(typeof COLUMNS)[number], string | null>>>;

/** @returns why it did not work; null: it did */
async function reason(run: () => unknown): Promise<string | null> {
  try {
    await run();
    return null;
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}

function shell(command: string, cwd: string): void {
  const { status, signal, stdout, stderr } = spawnSync('sh', ['-c', command], {
    cwd,
    env: ENVIRONMENT,
    encoding: 'utf8',
    timeout: LIMIT_MS,
  });
  if (status !== 0) throw new Error(`${command}: ${signal ?? status}\n${stdout}${stderr}`);
}

/** Makes the client in `NAME/made`. */
function generate({ name, command, config }: Generator): void {
  const made = join(CLIENTS, name, 'made');
  rmSync(made, { recursive: true, force: true });
  mkdirSync(made);
  copyFileSync(DOCUMENT, join(made, 'openapi.yaml'));
  if (config !== undefined) copyFileSync(join(CLIENTS, name, config), join(made, config));
  // For clients that take the document when they run.
  writeFileSync(join(made, 'openapi.json'), JSON.stringify(parse(readFileSync(DOCUMENT, 'utf8'))));
  if (command !== null) shell(command, made);
}

function compile({ name }: Generator): void {
  const made = join(CLIENTS, name, 'made');
  const project = join(made, 'tsconfig.json');
  // The settings of a generator are no part of what it made.
  const settings = {
    extends: '../../tsconfig.json',
    include: ['..'],
    exclude: ['../*.config.ts', '*.config.ts'],
  };
  writeFileSync(project, JSON.stringify(settings));
  shell(`"${join(ROOT, 'node_modules', '.bin', 'tsc')}" -p tsconfig.json`, made);
}

async function connectOf({ name }: Generator): Promise<Connect> {
  const file = join(CLIENTS, name, 'made', 'bundle.mjs');
  await build({
    input: join(CLIENTS, name, 'client.ts'),
    output: { file, format: 'esm', codeSplitting: false },
    platform: 'node',
    logLevel: 'silent',
  });
  const { connect } = (await import(pathToFileURL(file).href)) as { readonly connect: Connect };
  return connect;
}

async function tryOut(generator: Generator, master: ChildNode, replica: ChildNode): Promise<Found> {
  const generates = await reason(() => generate(generator));
  if (generates !== null) return { generates };
  const found: Record<string, string | null> = {
    generates,
    compiles: await reason(() => compile(generator)),
  };
  let connect: Connect | null = null;
  found.bytes = await reason(async () => {
    connect = await connectOf(generator);
  });
  if (connect === null) return found;
  for (const [name, run] of Object.entries(trials(connect, master, replica))) {
    found[name] = await reason(run);
    await fetch(`${master.url}/v1/keys?all=true`, { method: 'DELETE' });
  }
  return found;
}

async function main(names: readonly string[]): Promise<void> {
  const isThere = names.length > 0 && existsSync(join(CLIENTS, 'node_modules'));
  if (!isThere)
    execFileSync('npm', ['ci', '--ignore-scripts', '--no-audit', '--no-fund'], {
      cwd: CLIENTS,
      stdio: 'inherit',
    });
  const folder = mkdtempSync(join(tmpdir(), 'psyncd-sdk-'));
  const nodes: ChildNode[] = [];
  const start = async (name: string, ...flags: string[]): Promise<ChildNode> => {
    const node = await ChildNode.start(['--port', '0', '--data', join(folder, name), ...flags], {}, MAIN);
    nodes.push(node);
    return node;
  };
  try {
    const master = await start('master');
    const replica = await start('replica', '--replica-of', master.wsUrl);
    const wanted = GENERATORS.filter(({ name }) => names.length === 0 || names.includes(name));
    const rows: [Generator, Found][] = [];
    for (const generator of wanted) {
      const found = await tryOut(generator, master, replica);
      rows.push([generator, found]);
      for (const column of COLUMNS) {
        const why = found[column];
        process.stdout.write(
          `${generator.name}: ${column}: ${why === null ? 'yes' : (why ?? 'not tried')}\n`,
        );
        if (why !== null) process.exitCode = 1;
      }
    }
    if (names.length === 0) writeTable(rows, COLUMNS);
  } finally {
    for (const node of nodes.reverse()) await node.stop();
    rmSync(folder, { recursive: true, force: true });
  }
}

await main(process.argv.slice(2));
