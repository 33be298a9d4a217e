/** The end of a chaos test, or of one of its rounds: everything is healed, and every answered write is accounted for. */
import assert from 'node:assert/strict';
import type { ChildNode } from '../../src/cli/child-node.ts';
import { until } from '../../src/cli/until.ts';
import type { ReplicationAnswer } from '../../src/client/rest.ts';
import { type History, standing } from '../../src/replication/history.ts';
import { parsePosition } from '../../src/replication/position.ts';
import type { Place } from './place.ts';
import type { Answered, Writer } from './writer.ts';

/** Points the others at the leader, one of them through another one if it is to be a chain. */
export async function follow(places: readonly Place[], leader: Place, chained: boolean): Promise<void> {
  const others = places.filter((place) => place !== leader);
  for (const [index, place] of others.entries()) {
    const middle = others[0] as Place;
    const above = chained && index === others.length - 1 ? middle : leader;
    // One that is down is told when it is back: it would be promoted later with what it had when it was left alone.
    await until(`${place.name} is told whom to follow`, async () => {
      await place.back;
      await place.node.client.replicaOf(above.proxy.wsUrl);
      return true;
    });
  }
}

/** Heals everything, and waits until all nodes have the same position and hold the same. */
export async function settle(places: readonly Place[], leader: Place): Promise<void> {
  for (const { proxy } of places) proxy.restore();
  await until('the leader is the master', async () => {
    const { role } = await leader.node.client.replication();
    if (role === 'replica') await leader.node.client.promote();
    return role === 'master';
  });
  for (const place of places) {
    if (place === leader) continue;
    await until(`${place.name} follows the leader`, async () => {
      await place.node.client.replicaOf(leader.proxy.wsUrl);
      return true;
    });
  }
  await leader.node.client.set('the', 'end');
  await until('all nodes have the same position', async () => {
    const states = await Promise.all(places.map(({ node }) => node.client.replication()));
    return new Set(states.map(({ position }) => position)).size === 1;
  });
  const digests = await Promise.all(places.map(({ node }) => node.client.digest()));
  for (const digest of digests) assert.deepEqual(digest, digests[0]);
}

/**
 * @param isExcused whether this write may be lost although its position seems to be shared
 * @returns how many answered writes the last master's history does not share
 */
export async function judge(
  master: ChildNode,
  writers: readonly Writer[],
  isExcused: (answered: Answered) => boolean = () => false,
): Promise<number> {
  const history = historyOf(await master.client.replication());
  let leftBehind = 0;
  for (const { key, answered, attempted } of writers) {
    const bytes = await master.client.get(key);
    const found = bytes === null ? 0 : Number(Buffer.from(bytes).toString('utf8'));
    const shared = answered.filter((each) => {
      const parsed = parsePosition(each.position);
      return parsed !== null && !isExcused(each) && standing(history, parsed) === 'shared';
    });
    leftBehind += answered.length - shared.length;
    const newest = shared.reduce((most, { value }) => Math.max(most, value), 0);
    assert.ok(
      found >= newest && found <= attempted,
      `${key} is ${found}; ${newest} was answered at a position that the master's history has, ${attempted} was the last; ` +
        `the last shared one was answered at ${shared.at(-1)?.position}, the master has ${JSON.stringify(history)}`,
    );
  }
  return leftBehind;
}

function historyOf({ runId, lineage }: ReplicationAnswer): History {
  return { runId, lineage } as unknown as History;
}
