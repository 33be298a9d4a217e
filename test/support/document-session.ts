/**
 * The commands of a document, typed as they stand there: every block marked `sh`, in order, in one shell, against real nodes
 * in folders of their own. A block marked `text` directly behind one is the output that the document promises.
 *
 * What is not run says so, and why, in a line directly before the block that readers see: `_Not run by the tests: …_`, or
 * `_Run by test/sdk.test.ts._`. The ports of the document (7796 and up) stand for the free ones that the nodes have.
 */
import assert from 'node:assert/strict';
import { type ChildProcessByStdio, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import type { Readable, Writable } from 'node:stream';
import type { TestContext } from 'node:test';
import { fileURLToPath } from 'node:url';
import type { ChildNode } from '../../src/cli/child-node.ts';
import { until } from '../../src/cli/until.ts';
import { Cluster } from './cluster.ts';
import { MAIN } from './main-file.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));

export interface Block {
  /** For messages: the line of the document where the block begins. */
  readonly line: number;
  readonly commands: string;
  /** The output that the document shows; null: it shows none. */
  readonly output: string | null;
  /** Where in the document that output stands: [from, to). */
  readonly outputAt: readonly [number, number] | null;
  /** Why it is not run here; null: it is run. */
  readonly reason: string | null;
}

const FENCE = /^```sh\n([\s\S]*?)^```\n(?:\n?^```text\n([\s\S]*?)^```\n)?/gm;

export function blocksOf(text: string): readonly Block[] {
  return [...text.matchAll(FENCE)].map((match) => {
    const at = match.index;
    const before = text.slice(0, at).trimEnd().split('\n').at(-1) ?? '';
    const output = match[2] ?? null;
    const end = at + match[0].length - '```\n'.length;
    return {
      line: text.slice(0, at).split('\n').length,
      commands: match[1] ?? '',
      output,
      outputAt: output === null ? null : [end - output.length, end],
      reason: reasonIn(before),
    };
  });
}

function reasonIn(line: string): string | null {
  const elsewhere = /^_Run by `(\S+)`\._$/.exec(line)?.[1];
  if (elsewhere !== undefined) {
    assert.ok(existsSync(`${ROOT}${elsewhere}`), `${elsewhere} is not there`);
    return elsewhere;
  }
  return /^_Not run by the tests: (.{10,})_$/.exec(line)?.[1] ?? null;
}

/** `npm start -- FLAGS`: a node. */
const START = /^npm start(?: -- (.*))?$/;
/** `# Ctrl-C in the terminal of port 7797`: the node that listens there is stopped. */
const STOP = /^# Ctrl-C in the terminal of port (\d+)/;
/** `# stop ./replica-data`: the node of this folder is stopped. */
const STOP_FOLDER = /^# stop (\.\/\S+)/;
/** `# kill -9 the node on port 7797`. */
const KILL = /^# kill -9 the node on port (\d+)/;
/** Flags whose files are in the folder of the document. */
const FILE_FLAGS = [
  '--config',
  '--upstream-token-file',
  '--access-log',
  '--archive-to',
  '--backup-to',
  '--tls-cert',
  '--tls-key',
  '--tls-client-ca',
  '--upstream-ca',
  '--jwt-key-file',
] as const;
const END = '--- end of block';

export class DocumentSession {
  readonly #cluster: Cluster;
  readonly #shell: ChildProcessByStdio<Writable, Readable, null>;
  /** By the port that the document names. */
  readonly #nodes = new Map<string, { readonly folder: string; readonly port: string; node: ChildNode }>();
  #output = '';

  private constructor(cluster: Cluster, shell: ChildProcessByStdio<Writable, Readable, null>) {
    this.#cluster = cluster;
    this.#shell = shell;
    shell.stdout.setEncoding('utf8').on('data', (text: string) => {
      this.#output += text;
    });
  }

  static async open(t: TestContext): Promise<DocumentSession> {
    const cluster = await Cluster.create(t);
    const cwd = cluster.data('work');
    await mkdir(cwd);
    const shell = spawn('bash', ['--norc'], { cwd, stdio: ['pipe', 'pipe', 'inherit'] });
    t.after(() => shell.kill());
    const session = new DocumentSession(cluster, shell);
    shell.stdin.write(`exec 2>&1\n${PROLOGUE}`);
    return session;
  }

  /** @returns what the commands print, with the document's ports @throws AssertionError when one of them fails */
  async run(block: Block): Promise<string> {
    let output = '';
    let commands = '';
    for (const line of block.commands.split('\n')) {
      const start = START.exec(line);
      const stop = STOP.exec(line)?.[1] ?? this.#portOf(STOP_FOLDER.exec(line)?.[1]);
      const kill = KILL.exec(line)?.[1];
      if (start === null && stop === undefined && kill === undefined) {
        commands += `${line}\n`;
        continue;
      }
      output += await this.#type(commands, block);
      commands = '';
      if (start !== null) output = `${ended(output)}${await this.#start(start[1] ?? '')}`;
      else await this.#stop(stop ?? kill ?? '', stop === undefined ? 'SIGKILL' : 'SIGINT');
    }
    output += await this.#type(commands, block);
    await this.#settled();
    return output;
  }

  /** Waits until each replica whose master is up has what its master has, as it would while a reader types the next command. */
  async #settled(): Promise<void> {
    const nodes = [...this.#nodes.values()].map(({ node }) => node).filter(isUp);
    await until('the replicas have what their masters have', async () => {
      // A node with tokens does not say; its document waits itself.
      const answers = nodes.map((node) => node.client.replication().catch(() => null));
      const states = await Promise.all(answers);
      return states.every((state) => {
        if (state === null) return true;
        const { upstream, position } = state;
        const master = nodes.findIndex(({ wsUrl }) => wsUrl === upstream?.url);
        return (
          master === -1 ||
          (upstream?.state === 'streaming' && (states[master] ?? state).position === position)
        );
      });
    });
  }

  async #start(flags: string): Promise<string> {
    const words = flags.split(/\s+/).filter((word) => word !== '');
    const [folder, port] = [taken(words, '--data') ?? './psyncd-data', taken(words, '--port') ?? '7796'];
    const before = this.#nodes.get(port);
    assert.ok(before === undefined || !isUp(before.node), `a node is up on port ${port} already`);
    for (const flag of FILE_FLAGS) {
      const file = taken(words, flag);
      if (file !== undefined) words.push(flag, this.#cluster.data(`work/${file.replace('./', '')}`));
    }
    const [admin, metrics] = ['--admin-listen', '--metrics-listen'].map((flag) => {
      const port = taken(words, flag)?.split(':')[1];
      if (port !== undefined) words.push(flag, '127.0.0.1:0');
      return port;
    });
    const rest = words.map((word) => this.#toReal(word));
    const at = before === undefined ? [] : ['--port', before.port];
    const node = await this.#cluster.start(`work/${folder.replace('./', '')}`, ...at, ...rest);
    this.#nodes.set(port, { folder, node, port: String(node.port) });
    if (port === '7796') this.#shell.stdin.write(`export PSYNCD_NODE=${node.url}\n`);
    const { role, runId, offset } = node.ready;
    const { adminUrl, metricsUrl } = node;
    if (admin !== undefined && adminUrl !== null)
      this.#nodes.set(admin, { folder: '', node, port: new URL(adminUrl).port });
    if (metrics !== undefined && metricsUrl !== null)
      this.#nodes.set(metrics, { folder: '', node, port: new URL(metricsUrl).port });
    const more = `${adminUrl === null ? '' : ` admin=${adminUrl}`}${metricsUrl === null ? '' : ` metrics=${metricsUrl}`}`;
    return this.#toShown(
      `psyncd listening on ${node.url} role=${role} run-id=${runId} offset=${offset}${more}\n`,
    );
  }

  /** @returns the port, as the document has it, of the node that runs in this folder */
  #portOf(folder: string | undefined): string | undefined {
    return [...this.#nodes].find(([, each]) => each.folder === folder && isUp(each.node))?.[0];
  }

  async #stop(port: string, signal: NodeJS.Signals): Promise<void> {
    const node = this.#nodes.get(port)?.node;
    assert.ok(node !== undefined, `no node has been started on port ${port}`);
    await node.stop(signal);
  }

  async #type(commands: string, block: Block): Promise<string> {
    if (commands.trim() === '') return '';
    this.#output = '';
    this.#shell.stdin.write(
      `failed=\n${this.#toReal(commands)}\necho "${END}\${failed:+ FAILED: $failed}"\n`,
    );
    await until(
      'the commands are done',
      () => this.#output.includes(END) && this.#output.endsWith('\n'),
      60_000,
    );
    const [output = '', end = ''] = this.#output.split(END);
    assert.equal(end, '\n', `the block of line ${block.line}: ${output}`);
    return this.#toShown(output);
  }

  #toReal(text: string): string {
    return [...this.#nodes].reduce(
      (replaced, [shown, { port }]) => replaced.replaceAll(`:${shown}`, `:${port}`),
      text,
    );
  }

  #toShown(text: string): string {
    return [...this.#nodes].reduce(
      (replaced, [shown, { port }]) => replaced.replaceAll(`:${port}`, `:${shown}`),
      text,
    );
  }
}

/** The commands as a user has them, and what a failing one leaves behind. */
const PROLOGUE = `
curl() { command curl --silent --show-error "$@"; }
psyncd() { '${process.execPath}' '${MAIN}' "$@"; }
npm() {
  case "$*" in
    'run -s psyncd -- '*) psyncd "\${@:5}" ;;
    *) echo "npm $*: not known here"; return 1 ;;
  esac
}
trap 'failed=\${failed:-$BASH_COMMAND}' ERR
`;

function isUp({ process }: ChildNode): boolean {
  return process.exitCode === null && process.signalCode === null;
}

function taken(words: string[], flag: string): string | undefined {
  const at = words.indexOf(flag);
  return at === -1 ? undefined : words.splice(at, 2)[1];
}

/** Makes what was printed shorter, and the same each time: the run IDs of a document, in their order, for these. */
export function abbreviated(printed: string, runIds: string[]): string {
  return printed.replaceAll(/\b[0-9a-f]{40}\b/g, (runId) => {
    if (!runIds.includes(runId)) runIds.push(runId);
    return `${SHOWN_RUN_IDS[runIds.indexOf(runId)]}…`;
  });
}

const SHOWN_RUN_IDS = ['8f3b0c6d', '14a04ceb', 'c2d91e07', '5e60a7f1', 'b7c4d2a9', '90ee1f35'];

/**
 * Compares what was printed with what the document shows. In the document `…` stands for anything; run IDs,
 * times of day and durations may be others.
 */
export function showsTheSame(shown: string, printed: string): boolean {
  const parts = settled(shown).split('…').map(escaped);
  return new RegExp(`^${parts.join('[\\s\\S]*?')}$`).test(settled(printed));
}

function settled(text: string): string {
  return text
    .trim()
    .replaceAll(/\b[0-9a-f]{40}\b|\b[0-9a-f]{8}…/g, 'RUNID')
    .replaceAll(/\b\d+(?:\.\d+)? m?s\b/g, 'DURATION')
    .replaceAll(/\b1[5-9]\d{11}\b/g, 'MILLISECONDS')
    .replaceAll(/[ \t]+$/gm, '')
    .replaceAll('\r', '');
}

/** With a newline at its end: what comes next is printed in another terminal. */
function ended(output: string): string {
  return output === '' || output.endsWith('\n') ? output : `${output}\n`;
}

function escaped(text: string): string {
  return text.replaceAll(/[.*+?^${}()|[\]\\]/g, '\\$&');
}
