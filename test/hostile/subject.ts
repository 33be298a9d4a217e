/**
 * The node under attack, and what must be true of it whatever comes: the process lives, `/healthz` is answered soon, memory
 * stays under a bound, every answer is one that openapi.yaml has, and the log tells of no mistake of the node's own.
 */
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { Agent, type IncomingMessage, request } from 'node:http';
import { setTimeout as pause } from 'node:timers/promises';
import type { ChildNode } from '../../src/cli/child-node.ts';
import { checkAnswer } from '../support/contract.ts';
import type { RawAnswer } from './answers.ts';

/** How long the node's own work may keep `/healthz` waiting on a quiet machine, in ms of its main thread's processor time. */
export const MAX_STALL_MS = 250;
/** No answer at all for so long means that the node hangs, however busy the machine is. */
const HANGS_MS = 20_000;
/** What docs/limits.md allows at the same time: `--request-memory` and the overlay. */
const LIMITS_BYTES = (256 + 64) * 1024 ** 2;
/**
 * Garbage that V8 has not collected yet, and freed memory that the allocator keeps: V8 begins to collect behind 64 MiB of new buffers,
 * lets a small heap grow to about four times what is alive, and is slower on a busy machine.
 */
const GARBAGE_BYTES = 256 * 1024 ** 2;
/** How much more than at its start a node may hold under attack. */
const MAX_GROWTH_BYTES = LIMITS_BYTES + GARBAGE_BYTES;
/** How much more it may hold once nobody has sent anything for a while: the overlay, and freed memory that the allocator keeps. */
const MAX_KEPT_BYTES = (64 + 96) * 1024 ** 2;
/** Time for giving memory back; a node collects garbage thoroughly behind ten quiet seconds. */
const GIVES_BACK_MS = 60_000;
const LOOK_EVERY_MS = 500;
const ASK_EVERY_MS = 10;
/** Lines of the log that only a fault of psyncd's own writes. */
const OWN_FAULT = /request-failed|unhandled|uncaught|TypeError|RangeError|ReferenceError/;

export interface Finding {
  /** Short, the same for each finding of this kind. */
  readonly kind: string;
  readonly detail: string;
}

export class Subject {
  readonly node: ChildNode;
  /** What was found, one of each kind. */
  readonly findings = new Map<string, string>();
  /** What is done to it now, for the findings of the watch. */
  doing = '';
  /** The longest stall, in ms of the main thread's processor time. */
  longestStallMs = 0;
  /** The highest resident memory, in bytes. */
  peakBytes = 0;
  readonly #startBytes: number;
  #logLength = 0;
  #going = true;
  readonly #watching: Promise<unknown>;
  readonly #agent = new Agent({ keepAlive: true, maxSockets: 1 });

  readonly #maxStallMs: number;

  /** @param maxStallMs how long `/healthz` may wait, in ms of the main thread's processor time */
  constructor(node: ChildNode, maxStallMs = MAX_STALL_MS) {
    this.node = node;
    this.#maxStallMs = maxStallMs;
    this.#startBytes = residentBytes(node);
    this.#watching = this.#watch();
  }

  get hasEnded(): boolean {
    return this.node.process.exitCode !== null || this.node.process.signalCode !== null;
  }

  found(kind: string, detail: string): void {
    if (!this.findings.has(kind)) this.findings.set(kind, detail.slice(0, 2_000));
  }

  /** Holds an answer against openapi.yaml. @param sent what the request was, for the report */
  check(method: string, path: string, answer: RawAnswer, sent: string): void {
    try {
      checkAnswer({ method, path, ...answer });
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error);
      this.found(
        `contract: ${message.replace(/^.*?answered/s, 'answered').slice(0, 60)}`,
        `${message}\n${sent}`,
      );
    }
  }

  /** Looks at the process and its log. Call it behind each round. */
  look(round: string): void {
    if (this.hasEnded) this.found('the process ended', `${round}\n${this.node.log.slice(-1_500)}`);
    const { log } = this.node;
    const fresh = log.length >= this.#logLength ? log.slice(this.#logLength) : log;
    this.#logLength = log.length;
    const fault = OWN_FAULT.exec(fresh);
    if (fault !== null) {
      const line = fresh.slice(Math.max(0, fault.index - 200), fault.index + 1_200);
      this.found(`log: ${/\b\w*Error: .{0,60}/.exec(line)?.[0] ?? fault[0]}`, `${round}\n${line}`);
    }
  }

  /** Waits until the node, which nobody asks any more, has given back what it took under attack. Call it behind `end`. */
  async givesBack(): Promise<void> {
    const endAt = performance.now() + GIVES_BACK_MS;
    const growth = (): number => residentBytes(this.node) - this.#startBytes;
    while (growth() > MAX_KEPT_BYTES && !this.hasEnded) {
      if (performance.now() > endAt) {
        this.found(
          'memory kept',
          `${Math.round(growth() / 1024 ** 2)} MiB more than at the start, when quiet`,
        );
        return;
      }
      await pause(LOOK_EVERY_MS);
    }
  }

  /** Ends the watch, and leaves the node running. */
  async end(): Promise<void> {
    this.#going = false;
    await this.#watching;
    this.#agent.destroy();
  }

  async #watch(): Promise<void> {
    while (this.#going && !this.hasEnded) {
      const [busyBefore, askedAt] = [mainThreadMs(this.node), performance.now()];
      const status = await this.#askHealth();
      const waitedMs = performance.now() - askedAt;
      if (this.hasEnded || !this.#going) return;
      if (status === null && waitedMs >= HANGS_MS) this.found('hang', `/healthz: nothing for ${HANGS_MS} ms`);
      else if (status !== 200) this.found('health', `/healthz answered ${status}`);
      const stallMs = Math.min(waitedMs, mainThreadMs(this.node) - busyBefore);
      this.longestStallMs = Math.max(this.longestStallMs, stallMs);
      if (stallMs > this.#maxStallMs)
        this.found('stall', `/healthz waited for ${stallMs.toFixed(0)} ms of work: ${this.doing}`);
      this.peakBytes = Math.max(this.peakBytes, residentBytes(this.node));
      const growth = this.peakBytes - this.#startBytes;
      if (growth > MAX_GROWTH_BYTES)
        this.found('memory', `${Math.round(growth / 1024 ** 2)} MiB more than at the start: ${this.doing}`);
      await pause(ASK_EVERY_MS);
    }
  }

  async #askHealth(): Promise<number | null> {
    const { hostname, port } = new URL(this.node.url);
    const asked = request({ hostname, port, path: '/healthz', agent: this.#agent, timeout: HANGS_MS });
    asked.on('timeout', () => asked.destroy(new Error('no answer')));
    asked.end();
    try {
      const [response] = (await once(asked, 'response')) as [IncomingMessage];
      response.resume();
      await once(response, 'end');
      return response.statusCode ?? null;
    } catch {
      return null;
    }
  }
}

/** Resident memory of the node's process; 0 where the system does not tell. */
function residentBytes(node: ChildNode): number {
  return Number(/VmRSS:\s+(\d+)/.exec(procFile(node, 'status'))?.[1] ?? 0) * 1024;
}

/** Clock ticks are what Linux counts processor time in: 100 a second on every machine that Node runs on. */
const TICK_MS = 10;

/** How long the node's main thread, which runs its event loop, has been on a processor; 0 where the system does not tell. */
function mainThreadMs(node: ChildNode): number {
  // Behind the name in parentheses, which may have spaces: the 12th and 13th field are user and system time (proc(5)).
  const fields = procFile(node, `task/${node.process.pid}/stat`).split(') ').at(-1)?.split(' ') ?? [];
  return (Number(fields[11] ?? 0) + Number(fields[12] ?? 0)) * TICK_MS;
}

function procFile(node: ChildNode, name: string): string {
  try {
    return readFileSync(`/proc/${node.process.pid}/${name}`, 'utf8');
  } catch {
    return '';
  }
}
