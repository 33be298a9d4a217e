/** `reconnect`: the time of a partial resync of 1 MiB, from the replica's new connection until the replica has everything. */
import type { ChildNode } from '../src/cli/child-node.ts';
import { fill } from './fill.ts';
import { polled } from './polled.ts';
import { Relay } from './relay.ts';
import { tenths, whole } from './report.ts';
import type { Scope } from './scope.ts';
import { summary } from './statistics.ts';
import type { Study } from './study.ts';
import { KEYS, keyAt } from './workload.ts';

const ROUNDS = 5;
const GOAL_MS = 20;
/** Number of writes that the replica misses: as many as fit into the default backlog of 1 MiB. */
const MISSED_WRITES = 7_200;
const WITHIN_MS = 60_000;

interface Reconnect {
  readonly ms: number;
  readonly bytes: number;
  /** Milliseconds of the whole attempt, as the replica reports them. */
  readonly linkMs: number;
}

export const reconnect: Study = {
  name: 'reconnect',
  what: 'partial resync, until caught up',
  async run(scope, { rounds: count = ROUNDS }, progress) {
    const { node: master } = await scope.filledNode(KEYS);
    const relay = await scope.start(() => Relay.to(master.port));
    const { node: replica } = await scope.node('--replica-of', relay.wsUrl);
    // A replica that loses its connection has followed before, so its code is compiled. The fill does the same here.
    await fill(master, KEYS);
    await follows(replica, (await master.client.replication()).offset);
    const rounds: Reconnect[] = [];
    for (let number = 0; number <= count; number += 1) {
      const round = await once(scope, master, relay, replica);
      progress(
        `reconnect: ${number === 0 ? 'warm-up' : `round ${number}`}: ${tenths(round.ms)} ms for ` +
          `${whole(round.bytes)} bytes (the link says ${tenths(round.linkMs)} ms)`,
      );
      if (number > 0) rounds.push(round);
    }
    return {
      figures: [
        {
          row: 6,
          what: 'partial resync of 1 MiB',
          unit: 'ms',
          psyncd: summary(rounds.map(({ ms }) => ms)),
          goal: { kind: 'under', value: GOAL_MS, of: 'median' },
          note: `${whole(summary(rounds.map(({ bytes }) => bytes)).median)} bytes`,
        },
      ],
      details: rounds,
    };
  },
};

async function once(scope: Scope, master: ChildNode, relay: Relay, replica: ChildNode): Promise<Reconnect> {
  scope.signal.throwIfAborted();
  const { offset: before } = await replica.client.replication();
  await relay.cut();
  await fill(master, MISSED_WRITES);
  const { offset, position } = await master.client.replication();
  // The digest waits for the master's applier, which would otherwise work during the measurement.
  await master.client.digest();
  const reached = reachedAt(replica, position);
  await relay.restored();
  const startedAt = performance.now();
  const ms = (await reached) - startedAt;
  const sync = await follows(replica, offset);
  if (sync.kind !== 'partial') throw new Error(`expected a partial resync, got a full one: ${sync.reason}`);
  return { ms, bytes: offset - before, linkMs: sync.durationMs };
}

/**
 * Reads from the replica with a wait for the position. Polling would take processor time from the relay, which runs in this
 * process.
 */
async function reachedAt(replica: ChildNode, position: string): Promise<number> {
  const query = new URLSearchParams({ position, timeout: String(WITHIN_MS) });
  const answer = await fetch(`${replica.url}/v1/keys/${keyAt(0)}?${query}`);
  const at = performance.now();
  if (!answer.ok) throw new Error(`the replica did not catch up: ${await answer.text()}`);
  await answer.arrayBuffer();
  return at;
}

/** Waits until the replica has the offset. @returns its last sync */
function follows(
  replica: ChildNode,
  offset: number,
): Promise<{ readonly kind: string; readonly reason: string | null; readonly durationMs: number }> {
  return polled(20, async () => {
    const answer = await replica.client.replication();
    const there = answer.upstream?.state === 'streaming' && answer.offset >= offset;
    return there ? answer.upstream?.lastSync : null;
  });
}
