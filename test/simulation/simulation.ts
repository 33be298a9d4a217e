/**
 * One run: the production code of `node/` and below, several nodes in one process, on virtual time, fake sockets and
 * fake disks, for some minutes of their time; everything that happens follows from the seed.
 *
 * In the first part clients, operators and every kind of failure do what they like; how often each comes is a matter of
 * the seed too, so that some runs are full of crashes and others of hand-overs. The referee looks after every step.
 * In the second part everything is healed and one node is made the master: then all have to come to the same.
 */
import { BackupKeeper } from './backups.ts';
import type { Chance } from './chance.ts';
import { Clients } from './clients.ts';
import { Cluster } from './cluster.ts';
import { converge } from './convergence.ts';
import type { EventLoop } from './event-loop.ts';
import type { ArmedCrash, CrashKind, Machine } from './machine.ts';
import { Operator } from './operator.ts';
import type { DiskPoint } from './process.ts';

export interface Outcome {
  readonly seed: number;
  /** The promise that was broken, or null. */
  readonly broken: string | null;
  /** Of everything that happened. */
  readonly hash: string;
  /** The last things that happened. */
  readonly lines: readonly string[];
  /** How often what happened. */
  readonly counts: ReadonlyMap<string, number>;
  readonly steps: number;
}

const ACTIONS = 160;
/** Between two actions, on average. */
const PAUSE_MS = 40;
const CRASH_POINTS: readonly DiskPoint[] = [
  ...(['append', 'append', 'append', 'append', 'save', 'save', 'switch', 'flush', 'trim'] as const),
  ...(['finish', 'begin', 'receive', 'keep', 'remove', 'forget'] as const),
];

interface Action {
  readonly weight: number;
  run(): void;
}

/** @param keepLines so many of the last lines of the trace are kept */
export async function simulate(seed: number, keepLines: number): Promise<Outcome> {
  const cluster = new Cluster(seed, keepLines);
  const failed = (error: unknown): void => cluster.failed(error);
  process.on('unhandledRejection', failed);
  try {
    await live(cluster, seed);
    if (cluster.referee.verdict === null) await converge(cluster);
  } finally {
    process.off('unhandledRejection', failed);
  }
  const { hash, lines, counts } = cluster.trace;
  return { seed, broken: cluster.referee.verdict, hash, lines, counts, steps: cluster.steps };
}

async function live(cluster: Cluster, seed: number): Promise<void> {
  const { chance, machines, referee } = cluster;
  const backups = new BackupKeeper(seed, machines, referee.ledger, (...args) => cluster.restore(...args));
  const operator = new Operator(cluster);
  const actions = actionsOf(cluster, operator);
  const total = actions.reduce((sum, { weight }) => sum + weight, 0);
  await operator.start();
  for (let count = 0; count < ACTIONS; count += 1) {
    backups.act();
    let pick = chance.next() * total;
    for (const { weight, run } of actions) {
      pick -= weight;
      if (pick >= 0) continue;
      try {
        run();
      } catch (error) {
        cluster.failed(error);
      }
      break;
    }
    const isLull = chance.odds(0.05);
    if (!(await cluster.run(chance.delay(isLull ? 2_000 : PAUSE_MS)))) return;
  }
}

/** What can happen, and how often in this run. */
function actionsOf(cluster: Cluster, operator: Operator): readonly Action[] {
  const { chance, machines, network, loop, referee, trace } = cluster;
  const clients = new Clients(loop, chance.fork(), referee, trace);
  const any = (): Machine => chance.of(machines);
  const master = (): Machine => {
    const masters = machines.filter(({ node }) => node?.role === 'master');
    return masters.length === 0 || chance.odds(0.05) ? any() : chance.of(masters);
  };
  const note = (what: string | null): void => {
    if (what !== null) cluster.note(what);
  };
  const caught = (promise: Promise<unknown>): void =>
    void promise.catch((error: unknown) => tolerate(cluster, error));
  /** Some runs have much of it, some nothing. */
  const some = (weight: number): number => weight * chance.of([0, 0.3, 1, 3]);
  /** Of a node that is the master as often as not: nobody but a master goes on with other bytes. */
  const either = (): Machine => (chance.odds(0.5) ? master() : any());
  const copying = chance.of([0, 2, 8]);
  return [
    { weight: 100, run: () => clients.write(master()) },
    { weight: 5, run: () => caught(clients.read(any())) },
    { weight: 5, run: () => clients.reach(any()) },
    { weight: 5, run: () => clients.probe(any()) },
    { weight: some(1), run: () => caught(clients.export(any())) },
    { weight: some(6), run: () => note(prefixed('cut', network.cut())) },
    { weight: some(3), run: () => note(prefixed('stall', network.stall(chance.delay(3_000)))) },
    { weight: some(3), run: () => note(prefixed('slow', network.slow(chance.delay(4_000)))) },
    { weight: some(1), run: () => network.part(any(), any(), chance.delay(3_000)) },
    { weight: some(3), run: () => any().crash('process') },
    { weight: some(2), run: () => any().crash('power') },
    { weight: some(4), run: () => any().arm(armedCrash(chance)) },
    { weight: some(1), run: () => caught(any().stop()) },
    { weight: copying, run: () => cluster.keepCopy(either()) },
    { weight: copying / 2, run: () => cluster.putBack(either()) },
    { weight: some(1), run: () => fillDisk(cluster, any()) },
    { weight: some(0.5), run: () => fullAtStart(cluster, any()) },
    { weight: some(1), run: () => any().failOnce() },
    { weight: some(2), run: () => note(damagedRow(chance, any())) },
    { weight: some(2), run: () => any().setClock(skew(chance)) },
    { weight: some(1), run: () => operator.resizeBacklog(any()) },
    { weight: some(2), run: () => operator.replicaOf(any(), any()) },
    { weight: some(1), run: () => operator.promote(any()) },
    { weight: some(1.5), run: () => operator.regroup(any()) },
    { weight: some(3), run: () => operator.failover(master(), chance.odds(0.5) ? null : any()) },
    { weight: some(2), run: () => disturbed(cluster, operator, master(), any()) },
    { weight: some(0.3), run: () => operator.abortFailover(any()) },
    { weight: 0.5, run: () => operator.accept(any()) },
  ];
}

/** Damages a row of the journal that the keyspace file has. @returns what happened, or null */
function damagedRow(chance: Chance, { disk, name }: Machine): string | null {
  const held = disk.files.get(disk.row.keyspaceNumber)?.position.offset ?? 0;
  const rows = disk.journal.filter(({ end }) => end <= held);
  if (rows.length === 0) return null;
  const { end } = chance.of(rows);
  disk.damage(end);
  return `damages what ends at ${end} of the journal of ${name}`;
}

/** A hand-over in which something fails at one of the two nodes. */
function disturbed(cluster: Cluster, operator: Operator, from: Machine, to: Machine): void {
  const { chance, loop, machines, network } = cluster;
  const replicas = machines.filter(({ disk, node }) => {
    return disk.row.upstream === from.url && node?.status.upstream?.state === 'streaming';
  });
  if (replicas.length > 1 && chance.odds(0.5)) {
    const [target, third] = chance.odds(0.5) ? replicas : replicas.toReversed();
    forgotten(cluster, operator, from, target as Machine, third as Machine);
    return;
  }
  operator.failover(from, to);
  const machine = chance.odds(0.7) ? to : from;
  loop.at(chance.delay(30), () => {
    if (chance.odds(0.5)) machine.crash('power');
    else if (chance.odds(0.6)) machine.crash('process');
    else network.cut();
  });
}

/**
 * The old master does not hear that the target takes over. The target hands over in turn, and is put back to what it was before, often
 * before the old master asks it again.
 */
function forgotten(cluster: Cluster, operator: Operator, from: Machine, to: Machine, third: Machine): void {
  const { chance, loop, network } = cluster;
  const isMaster = ({ disk }: Machine): boolean => disk.row.upstream === null;
  cluster.keepCopy(to);
  operator.failover(from, to);
  when(loop, 1, () => {
    if (!from.disk.row.handingOver || !isMaster(to)) return false;
    from.crash('process');
    network.part(from, to, chance.delay(3_000));
    operator.replicaOf(third, to);
    when(loop, 50, () => {
      if (isMaster(third)) cluster.putBack(to);
      else operator.failover(to, third);
      return isMaster(third);
    });
    return true;
  });
}

/** Does it again and again, until it says that it is done, for a second at most. */
function when(loop: EventLoop, everyMs: number, isDone: () => boolean, leftMs = 1_000): void {
  if (leftMs > 0)
    loop.at(everyMs, () => {
      if (!isDone()) when(loop, everyMs, isDone, leftMs - everyMs);
    });
}

/** Names of the errors that a client may get of a node that does its work. */
const EXPECTED: ReadonlySet<string> = new Set(['Problem', 'StorageError', 'ExportEnded', 'Crashed']);

/** Refusals are answers too. */
function tolerate(cluster: Cluster, error: unknown): void {
  const isExpected = error instanceof Error && EXPECTED.has(error.name);
  if (!isExpected) cluster.failed(error);
}

function prefixed(what: string, connection: string | null): string | null {
  return connection === null ? null : `${what} ${connection}`;
}

function armedCrash(chance: Chance): ArmedCrash {
  return {
    point: chance.of(CRASH_POINTS),
    when: chance.of(['before', 'after']),
    kind: chance.of<CrashKind>(['process', 'process', 'power']),
  };
}

function fillDisk({ chance, loop }: Cluster, { disk }: Machine): void {
  disk.isFull = true;
  loop.at(chance.delay(1_500), () => {
    disk.isFull = false;
  });
}

/** The node ends, and its disk is full when it starts again, once or several times. */
function fullAtStart(cluster: Cluster, machine: Machine): void {
  machine.crash('process');
  fillDisk(cluster, machine);
}

/** Mostly some seconds, forward or backward; seldom up to four hours. */
function skew(chance: Chance): number {
  const byMs = Math.round((chance.next() * 2 - 1) * 5_000);
  if (!chance.odds(0.2)) return byMs;
  return byMs * 2_880;
}
