/**
 * What nodes tell of durations, while their wall clocks are set by hours, against the time that has really passed: none is
 * negative, none is longer than the node has been running, and no lag is told smaller than it is.
 */
import type { Node } from '../../src/node/node.ts';
import type { Machine } from './machine.ts';

/** A machine is looked at so often, in milliseconds of the run. */
const LOOK_EVERY_MS = 50;
/** Durations are told in whole milliseconds. */
const ROUNDING_MS = 1;

/** What a replica had acknowledged when it was first seen to lag, and when that was. */
interface Lag {
  readonly offset: number;
  readonly since: number;
}

export class Times {
  readonly #blame: (what: string) => void;
  readonly #seen = new Map<Machine, { readonly node: Node; at: number; lags: ReadonlyMap<string, Lag> }>();

  constructor(blame: (what: string) => void) {
    this.#blame = blame;
  }

  check(machine: Machine): void {
    const { reached } = machine;
    if (reached === null) return;
    const { node, process } = reached;
    const now = process.monotonic();
    let seen = this.#seen.get(machine);
    if (seen?.node !== node) {
      seen = { node, at: Number.NEGATIVE_INFINITY, lags: new Map() };
      this.#seen.set(machine, seen);
    }
    if (now - seen.at < LOOK_EVERY_MS) return;
    seen.at = now;
    const ranMs = now - process.startedAt;
    for (const [what, ms] of durationsOf(node)) {
      if (ms < 0 || ms > ranMs + ROUNDING_MS) {
        this.#blame(`${machine.name} tells ${what} of ${ms} ms, and has been running for ${ranMs} ms`);
      }
    }
    const lags = new Map<string, Lag>();
    for (const { id, offset, lagBytes, lagSeconds } of node.status.replicas) {
      if (lagBytes === 0) continue;
      const before = seen.lags.get(id);
      const lag = before?.offset === offset ? before : { offset, since: now };
      lags.set(id, lag);
      if (lagSeconds * 1_000 < now - lag.since - ROUNDING_MS) {
        this.#blame(
          `${machine.name} says that a replica lags ${lagSeconds} s; it has for ${now - lag.since} ms`,
        );
      }
    }
    seen.lags = lags;
  }
}

function* durationsOf(node: Node): Generator<readonly [what: string, ms: number]> {
  const { upstream, replicas } = node.status;
  for (const { ackAgeMs = 0, lagSeconds } of replicas) {
    yield ['an acknowledgement', ackAgeMs];
    yield ['a lag', lagSeconds * 1_000];
  }
  yield ['silence of the master', upstream?.lastIoAgeMs ?? 0];
  yield ['a link that is down', upstream?.downMs ?? 0];
  yield ['a sync', upstream?.lastSync?.durationMs ?? 0];
  const { historySeconds, outages } = node.backlogReport(null);
  yield ['the backlog', historySeconds * 1_000];
  for (const { awayMs } of outages) yield ['an outage', awayMs];
}
