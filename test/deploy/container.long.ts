/**
 * examples/deploy/Dockerfile without a container engine: its steps in a folder, and its command as PID 1 of a namespace. The steps that
 * need a network are left out; the output of the test names them.
 */
import assert from 'node:assert/strict';
import { type ChildProcess, execFile, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, readdir, readFile, symlink } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import test, { type TestContext } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import Database from 'better-sqlite3';
import { validate } from 'dockerfile-utils';
import { parseTime } from '../../src/settings/parse.ts';
import { temporaryFolder } from '../support/cluster.ts';
import { build, type RunRule, type Stage } from '../support/dockerfile.ts';
import { keptPort } from '../support/kept-port.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const EXAMPLE = join(ROOT, 'examples/deploy');
const run = promisify(execFile);

/** After this time `docker stop` kills, in milliseconds. */
const DOCKER_STOPS_MS = 10_000;
/** Time that a node needs after the wait for its replicas, in milliseconds (docs/deploy.md). */
const NEEDED_MS = 5_000;

const NAMESPACE = ['--fork', '--pid', '--mount-proc', '--user', '--map-root-user', '--kill-child'];
const skip =
  spawnSync('unshare', [...NAMESPACE, 'true']).status !== 0 &&
  'this system allows no namespaces to its users';

const RULES: Readonly<Record<string, RunRule>> = {
  'npm ci --no-workspaces': {
    not: 'it needs a network; the packages of the checkout are there instead',
    instead: (stage) => symlink(join(ROOT, 'node_modules'), stage.at('node_modules')),
  },
  'npm ci --omit=dev --no-workspaces --ignore-scripts': {
    not: 'it needs a network; links to the packages that psyncd declares are there instead',
    instead: linkedPackages,
  },
  'npm run build': 'as it is',
  'ln -s /opt/psyncd/dist/main.js /usr/local/bin/psyncd': 'as it is',
  'mkdir -m 0700 /data && chown node:node /data': {
    not: 'there is no user node here; the folder is made',
    instead: async (stage) => {
      await mkdir(stage.at('/data'), { mode: 0o700 });
    },
  },
};

async function linkedPackages(stage: Stage): Promise<void> {
  const { dependencies } = JSON.parse(await readFile(stage.at('package.json'), 'utf8'));
  for (const name of Object.keys(dependencies)) {
    const link = stage.at(join('node_modules', name));
    await mkdir(dirname(link), { recursive: true });
    await symlink(join(ROOT, 'node_modules', name), link);
  }
}

/** Environment of a process in the container; its commands come first. */
function environmentOf(stage: Stage): Record<string, string> {
  const folders = [stage.at('/usr/local/bin'), dirname(process.execPath), '/usr/bin', '/bin'];
  const { NODE_COMPILE_CACHE: cache = '' } = process.env;
  return { PATH: folders.join(':'), NODE_COMPILE_CACHE: cache, ...stage.environment };
}

class Container {
  readonly url: string;
  /** Of the process that is PID 1 within. */
  readonly pid: number;
  readonly #child: ChildProcess;
  readonly #stage: Stage;
  #log = '';

  private constructor(stage: Stage, child: ChildProcess, url: string, pid: number) {
    this.#stage = stage;
    this.#child = child;
    this.url = url;
    this.pid = pid;
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.#log += text;
    });
  }

  /** Starts it as `docker run IMAGE serve FLAGS` would, and waits until the node is ready. */
  static async start(t: TestContext, stage: Stage, flags: readonly string[]): Promise<Container> {
    const command = [...stage.words('ENTRYPOINT'), ...stage.words('CMD'), ...flags];
    const child = spawn('unshare', [...NAMESPACE, ...command], {
      cwd: stage.at('.'),
      env: environmentOf(stage),
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    t.after(async () => {
      if (child.exitCode !== null || child.signalCode !== null) return;
      const exited = once(child, 'exit');
      child.kill('SIGKILL');
      await exited;
    });
    const [line] = (await once(createInterface({ input: child.stdout }), 'line')) as [string];
    const url = /^psyncd listening on (\S+) role=master/.exec(line)?.[1];
    assert.ok(url !== undefined, line);
    const [pid] = await childrenOf(child.pid as number);
    assert.ok(pid !== undefined);
    return new Container(stage, child, url, pid);
  }

  /** @returns the exit code of the health check, which runs as by `docker exec` */
  async health(): Promise<number | null> {
    const [command = '', ...args] = this.#stage.words('HEALTHCHECK').map((word) => this.#stage.mapped(word));
    const env = { ...environmentOf(this.#stage), PSYNCD_PORT: new URL(this.url).port };
    const within = ['--target', String(this.pid), '--user', '--preserve-credentials', '--pid', '--mount'];
    const child = spawn('nsenter', [...within, command, ...args], { env, stdio: 'ignore' });
    const [code] = (await once(child, 'exit')) as [number | null];
    return code;
  }

  /** Ends it as `docker stop` does. @returns the exit code and the node's log */
  async stop(): Promise<{ readonly code: number | null; readonly log: string }> {
    const closed = once(this.#child, 'close');
    process.kill(this.pid, 'SIGTERM');
    const [code] = (await closed) as [number | null];
    return { code, log: this.#log };
  }
}

/** @returns the processes whose parent is this one, also those that have ended and that nobody has waited for */
async function childrenOf(pid: number): Promise<readonly number[]> {
  const threads = await readdir(`/proc/${pid}/task`);
  const lists = await Promise.all(
    threads.map((thread) => readFile(`/proc/${pid}/task/${thread}/children`, 'utf8')),
  );
  return lists.flatMap((list) => list.split(' ').filter(Boolean).map(Number));
}

/** @returns whether the last run of the node on this folder ended with a clean stop */
function wasClean(data: string): boolean {
  const db = new Database(join(data, 'psyncd.db'), { readonly: true });
  try {
    return db.prepare('SELECT clean FROM node').pluck().get() === 1;
  } finally {
    db.close();
  }
}

test('the steps of the Dockerfile make an image whose node is PID 1, healthy, and stops cleanly by `docker stop`', {
  skip,
}, async (t) => {
  const dockerfile = await readFile(join(EXAMPLE, 'Dockerfile'), 'utf8');
  assert.deepEqual(
    validate(dockerfile).map(({ message }) => message),
    [],
  );
  const folder = await temporaryFolder(t);
  const told = (text: string): void => t.diagnostic(text);
  const { stage, copied } = await build(dockerfile, { folder, context: ROOT, rules: RULES, told });

  // The builder gets what the steps copy, and nothing else.
  const [everything, ...exceptions] = (await readFile(join(EXAMPLE, 'Dockerfile.dockerignore'), 'utf8'))
    .split('\n')
    .filter((line) => line !== '' && !line.startsWith('#'));
  assert.equal(everything, '*');
  assert.deepEqual(exceptions.sort(), [...copied].map((path) => `!${path}`).sort());

  assert.equal(stage.lines.get('USER'), 'node');
  assert.equal(stage.lines.get('VOLUME'), '/data');
  assert.equal(stage.lines.get('STOPSIGNAL'), 'SIGTERM');
  const waits = parseTime(stage.environment.PSYNCD_SHUTDOWN_TIMEOUT ?? '');
  assert.ok(waits + NEEDED_MS <= DOCKER_STOPS_MS);

  const kept = await keptPort();
  t.after(() => kept.release());
  const flags = ['--host', '127.0.0.1', '--port', String(kept.port)];
  const container = await Container.start(t, stage, flags);
  const { url, pid } = container;
  assert.match(await readFile(`/proc/${pid}/status`, 'utf8'), /^NSpid:\t\d+\t1$/m);
  assert.equal((await fetch(`${url}/v1/keys/k`, { method: 'PUT', body: 'v' })).status, 201);
  for (const path of ['/docs/', '/openapi.yaml']) assert.equal((await fetch(url + path)).status, 200, path);
  assert.equal(await container.health(), 0);
  assert.deepEqual(await childrenOf(pid), [], 'PID 1 has nobody to wait for');
  assert.equal(wasClean(stage.at('/data')), false);

  const { code, log } = await container.stop();
  assert.equal(code, 0);
  assert.match(log, /"msg":"stopped"/);
  assert.deepEqual((await readdir(stage.at('/data'))).sort(), ['keyspace-1.db', 'psyncd.db']);
  assert.equal(wasClean(stage.at('/data')), true);

  const next = await Container.start(t, stage, flags);
  assert.equal(await (await fetch(`${next.url}/v1/keys/k`)).text(), 'v');
  assert.equal((await next.stop()).code, 0);
  const [command = '', ...args] = stage.words('HEALTHCHECK').map((word) => stage.mapped(word));
  const env = { ...environmentOf(stage), PSYNCD_PORT: String(kept.port) };
  await assert.rejects(run(command, args, { env }), { code: 1 }, 'what is gone is not healthy');

  // As docs/deploy.md makes a token for a node that listens on all addresses.
  const psyncd = (...words: string[]): Promise<unknown> =>
    run(stage.at('/usr/local/bin/psyncd'), words, { env: environmentOf(stage) });
  await assert.rejects(psyncd('config', 'check'), /allow-anonymous/);
  await psyncd('token', 'create', 'app', '--rights', 'read,write', '--tokens', stage.at('/data/tokens.json'));
  await psyncd('config', 'check', '--allow-host', 'kv.internal');
});

test('SIGTERM and SIGINT end a node at once that is PID 1 and still starts', { skip }, async (t) => {
  const folder = await temporaryFolder(t);
  for (const [signal, code] of [
    ['SIGTERM', 143],
    ['SIGINT', 130],
  ] as const) {
    const flags = ['--data', join(folder, signal), '--port', '0'];
    const program = ['--import', join(ROOT, 'test/support/held-start-preload.ts'), join(ROOT, 'src/main.ts')];
    const command = [process.execPath, ...program, 'serve', ...flags];
    const child = spawn('unshare', [...NAMESPACE, ...command], { stdio: ['ignore', 'pipe', 'pipe'] });
    t.after(() => child.kill('SIGKILL'));
    let output = '';
    child.stdout.on('data', (text: Buffer) => {
      output += text.toString();
    });
    const exited = once(child, 'close');
    const [line] = await once(createInterface({ input: child.stderr }), 'line');
    assert.equal(line, 'held');
    const [pid] = await childrenOf(child.pid as number);
    assert.ok(pid !== undefined);
    process.kill(pid, signal);
    assert.deepEqual([(await exited)[0], output], [code, ''], signal);
  }
});
