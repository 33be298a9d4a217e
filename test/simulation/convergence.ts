/**
 * The end of a run: nothing fails any more, and nobody writes. First the nodes are left to themselves, and have to get to
 * where the masters are that they follow; then one node is made the master of all, and they have to come to the same.
 */
import { standing } from '../../src/replication/history.ts';
import type { Cluster } from './cluster.ts';
import type { Machine } from './machine.ts';
import { Operator } from './operator.ts';

/** How long a hand-over may take that nothing disturbs any more. */
const HAND_OVER_MS = 30_000;
/** How long the nodes may take for each of the other steps. */
const QUIET_MS = 120_000;

export async function converge(cluster: Cluster): Promise<void> {
  heal(cluster);
  const { machines } = cluster;
  await wait(cluster, QUIET_MS, 'does not come up again', ({ node }) => node !== null);
  await wait(cluster, HAND_OVER_MS, 'hands over, and gets no answer', (machine) => {
    return !isUnanswered(machine, machines);
  });
  await wait(cluster, QUIET_MS, 'does not get to where its master is', (machine) => {
    return isWhereItsMasterIs(machine, machines);
  });
  if (cluster.referee.verdict === null) await unite(cluster);
}

function heal(cluster: Cluster): void {
  cluster.note('everything is healed');
  for (const machine of cluster.machines) {
    machine.disk.isFull = false;
    machine.disarm();
    machine.settings.maxReplicas = 256;
  }
  cluster.network.heal();
}

/** Lets time pass until it is true of all machines, unless a promise has been broken already. */
async function wait(
  cluster: Cluster,
  withinMs: number,
  failure: string,
  isTrue: (machine: Machine) => boolean,
): Promise<void> {
  const { machines, referee } = cluster;
  if (referee.verdict !== null) return;
  if (await cluster.until(() => machines.every(isTrue), withinMs)) return;
  const late = machines.find((machine) => !isTrue(machine));
  if (referee.verdict === null) referee.blame(`nothing fails any more, and ${late?.name} ${failure}`);
}

/** Whoever is the master of all: the others follow it, whatever they have. */
async function unite(cluster: Cluster): Promise<void> {
  const { chance, machines, referee } = cluster;
  const master = chance.of(machines);
  const operator = new Operator(cluster);
  const end = cluster.loop.now + QUIET_MS;
  while (cluster.loop.now < end) {
    if (master.node?.status.failover === null && master.node.role !== 'master') operator.promote(master);
    for (const machine of machines) {
      operator.accept(machine);
      const { handingOver } = machine.disk.row;
      // Who still asks its master to become one is told that it is.
      if (machine !== master && (handingOver || machine.node?.upstream !== master.url))
        operator.replicaOf(machine, master);
    }
    if (!(await cluster.run(1_000))) return;
    if (!machines.every((machine) => isUnited(machine, master))) continue;
    for (const machine of machines) referee.disks.checkLeftBehind(machine);
    await settle(cluster);
    return;
  }
  const states = machines.map(({ name, node }) => {
    const status = node?.status;
    return `${name} ${status?.role} ${status?.position} ${status?.upstream?.state} ${status?.upstream?.detail}`;
  });
  referee.blame(`the nodes have not come to the same:\n${states.join('\n')}`);
}

/** Each follower goes to some node, and has to get everything that this one has. */
async function settle(cluster: Cluster): Promise<void> {
  const { chance, followers, machines, referee } = cluster;
  for (const follower of followers) {
    const machine = chance.of(machines);
    follower.calm();
    const isThere = (): boolean => {
      follower.settle(machine);
      return follower.isAt(machine);
    };
    if (await cluster.until(isThere, QUIET_MS)) follower.settle(machine);
    else if (referee.verdict === null) referee.blame(`a follower does not get to where ${machine.name} is`);
  }
}

function isUnited(machine: Machine, master: Machine): boolean {
  const [own, top] = [machine.node?.status, master.node?.status];
  if (own === undefined || top?.role !== 'master' || own.position !== top.position) return false;
  return machine === master || own.upstream?.state === 'streaming';
}

/**
 * It asks a node to become the master that could say yes or no: one that is a master, or has one, and whose history has the place of the
 * hand-over. Any other may have been put back, or have got another history since it took over: an operator has to say.
 */
function isUnanswered({ disk }: Machine, machines: readonly Machine[]): boolean {
  if (!disk.row.handingOver) return false;
  const target = machines.find(({ url }) => url === disk.row.upstream);
  const status = target?.node?.status;
  if (status?.role !== 'master' && status?.upstream?.state !== 'streaming') return false;
  return target !== undefined && standing(target.disk.row.history, disk.position) === 'shared';
}

/** Or has none: nobody has told the nodes yet that they are to follow one. */
function isWhereItsMasterIs(machine: Machine, machines: readonly Machine[]): boolean {
  const path = [machine];
  for (let at = machine; at.disk.row.upstream !== null; ) {
    const next = machines.find(({ url }) => url === at.disk.row.upstream);
    if (next === undefined || path.includes(next)) return true;
    // Whoever is guarded, or hands over to a node that does not know, waits for somebody to say what is.
    if (at.node?.status.upstream?.guarded === true || at.disk.row.handingOver) return true;
    path.push(next);
    at = next;
  }
  const [own, top] = [machine.node?.status, path.at(-1)?.node?.status];
  if (own === undefined || top === undefined) return false;
  return (
    own === top || ((own.upstream?.state ?? 'streaming') === 'streaming' && own.position === top.position)
  );
}
