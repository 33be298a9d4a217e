/** Runs a node in a child process, which ends when this process does. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { AdminClient } from '../client/admin/admin-client.ts';
import { ALLOCATOR, NODE_FLAGS } from '../runtime/memory/process-memory.ts';

/** The tests say themselves how long they wait: as long as a timer can be set, in milliseconds. */
const MAX_MS = 2 ** 31 - 1;

/** The program as this process runs it: `main.ts` in a checkout, `main.js` beside the other files of the built program. */
const MAIN = fileURLToPath(
  new URL(import.meta.url.endsWith('.ts') ? '../main.ts' : './main.js', import.meta.url),
);
const READY =
  /^psyncd listening on (https?:\/\/\S+) role=(\w+) run-id=([0-9a-f]{40}) offset=(\d+)(?: admin=(\S+))?(?: metrics=(\S+))?$/;

export class ChildNode {
  readonly url: string;
  /** URL of the admin listener; null: it has none. */
  readonly adminUrl: string | null;
  /** URL of the metrics on the listener for them; null: it has none. */
  readonly metricsUrl: string | null;
  readonly client: AdminClient;
  readonly process: ChildProcess;
  /** The node's message when it was ready. */
  readonly ready: { readonly role: string; readonly runId: string; readonly offset: number };
  readonly #log: string[];

  private constructor(child: ChildProcess, ready: RegExpExecArray, log: string[]) {
    this.process = child;
    this.url = ready[1] as string;
    this.adminUrl = ready[5] ?? null;
    this.metricsUrl = ready[6] ?? null;
    this.client = new AdminClient(this.url, { retries: 0, timeoutMs: MAX_MS });
    this.ready = { role: ready[2] as string, runId: ready[3] as string, offset: Number(ready[4]) };
    this.#log = log;
  }

  /**
   * @param flags of `psyncd serve`
   * @param environment variables in addition to those of this process
   * @param main file of the program, to run another build than this process does
   * @throws Error with the output of the process if it ends instead of becoming ready
   */
  static async start(
    flags: readonly string[],
    environment: Readonly<Record<string, string>> = {},
    main: string = MAIN,
  ): Promise<ChildNode> {
    const child = spawn(process.execPath, [...NODE_FLAGS, main, 'serve', ...flags], {
      // Through the channel the child notices the end of this process.
      stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
      env: { ...ALLOCATOR, ...process.env, ...environment },
    });
    const log: string[] = [];
    child.stderr?.on('data', (chunk: Buffer) => {
      log.push(chunk.toString('utf8'));
      if (log.length > 1_000) log.shift();
    });
    if (child.stdout === null) throw new Error('the child has no standard output');
    for await (const line of createInterface({ input: child.stdout })) {
      const ready = READY.exec(line);
      if (ready !== null) return new ChildNode(child, ready, log);
    }
    if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
    throw new Error(log.join('').trim() || `the node ended with ${child.exitCode ?? child.signalCode}`);
  }

  get port(): number {
    return Number(new URL(this.url).port);
  }

  /** `ws://HOST:PORT`, for `--replica-of`. */
  get wsUrl(): string {
    return this.url.replace(/^http/, 'ws');
  }

  /** The last lines of the node's log. */
  get log(): string {
    return this.#log.join('');
  }

  /** @returns the exit code; null if a signal ended the process */
  async stop(signal: NodeJS.Signals = 'SIGTERM'): Promise<number | null> {
    const child = this.process;
    if (child.exitCode !== null || child.signalCode !== null) return child.exitCode;
    const exited = once(child, 'exit');
    child.kill(signal);
    const [code] = (await exited) as [number | null];
    return code;
  }
}
