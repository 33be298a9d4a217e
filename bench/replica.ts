import type { ChildNode } from '../src/cli/child-node.ts';
import { polled } from './polled.ts';
import type { Place, Scope } from './scope.ts';

const POLL_MS = 20;

/** Starts a replica of the master. Resolves when the replica has finished its full resync. */
export async function replicaOf(scope: Scope, master: ChildNode): Promise<Place> {
  const replica = await scope.node('--replica-of', master.wsUrl);
  await polled(POLL_MS, async () => {
    scope.signal.throwIfAborted();
    return (await replica.node.client.replication()).upstream?.state === 'streaming';
  });
  return replica;
}

/** Waits until the replica has reached the present offset of the master. */
export async function caughtUp(master: ChildNode, replica: ChildNode, everyMs = POLL_MS): Promise<void> {
  const { offset } = await master.client.replication();
  await polled(everyMs, async () => (await replica.client.replication()).offset >= offset);
}
