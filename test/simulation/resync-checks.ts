/** What nodes say to each other: how a replica is brought up to date, what it has, and history hashes. */
import type { Check, ReplicationStatus } from '../../src/node/node.ts';
import type { AckCount } from '../../src/node/session/ack-waiters.ts';
import { type Decision, FULL_RESYNC_REASONS } from '../../src/replication/decide.ts';
import { formatPosition, type Position, type RunId } from '../../src/replication/position.ts';
import type { Disk } from './disk.ts';
import type { Ledger } from './ledger.ts';
import type { Machine } from './machine.ts';
import { answer } from './rules.ts';
import { type Blame, trulyAt } from './truth.ts';

/** The largest offset that each machine has told, by the stream that its bytes are of. */
type Acknowledged = Map<Machine, Map<RunId, number>>;

/** Checks what passes between nodes. */
export class ResyncChecks {
  readonly #ledger: Ledger;
  readonly #blame: Blame;
  /** How far each replica has said it has each history. */
  readonly #acknowledged: Acknowledged = new Map();
  readonly #onDisk: Acknowledged = new Map();
  /** The history hash that was told first at each position. */
  readonly #hashes = new Map<string, string>();
  /** The history hashes that each node has told itself. */
  readonly #told = new Map<Machine, Map<string, string>>();

  constructor(ledger: Ledger, blame: Blame) {
    this.#ledger = ledger;
    this.#blame = blame;
  }

  /** A session gives its socket the bytes after `from`. */
  handedOut(machine: Machine, runId: RunId, from: number, bytes: Buffer): void {
    const { disk, name } = machine;
    const at = disk.position;
    if (runId !== at.runId) this.#blame(`${name} hands out ${runId}, and is at ${formatPosition(at)}`);
    if (from + bytes.length > at.offset) {
      this.#blame(`${name} hands out byte ${from + bytes.length}; its journal ends at ${at.offset}`);
    }
    const wrong = this.#ledger.contradiction(
      { runId: disk.truth, offset: from as Position['offset'] },
      bytes,
    );
    if (wrong !== null) this.#blame(`${name} hands out what is not of its history: ${wrong}`);
  }

  /** @param durable null: the machine does not say what is on its disk */
  acknowledges(machine: Machine, offset: number, durable: number | null): void {
    const { disk, name } = machine;
    if (offset > disk.position.offset) {
      this.#blame(`${name} acknowledges ${offset}; its journal ends at ${disk.position.offset}`);
    }
    note(this.#acknowledged, machine, offset);
    if (durable === null) return;
    const onDisk = durableOffset(disk);
    if (durable > onDisk) this.#blame(`${name} says that ${durable} is on its disk, which ends at ${onDisk}`);
    note(this.#onDisk, machine, durable);
  }

  /** A client is told how far its write has come: the replicas that count have said so, and were right; and so was this node. */
  waited(
    machine: Machine,
    position: Position,
    durable: boolean,
    { replicas: count, isHere }: AckCount,
  ): void {
    const { disk } = machine;
    if (durable && isHere && disk.truth === position.runId && durableOffset(disk) < position.offset) {
      this.#blame(`${machine.name} says that ${formatPosition(position)} is on its disk, which it is not`);
    }
    let have = 0;
    for (const [replica, said] of durable ? this.#onDisk : this.#acknowledged) {
      const positions = [...said].map(([runId, offset]) => ({ runId, offset: offset as Position['offset'] }));
      if (replica === machine || !positions.some((each) => this.#ledger.includesNamed(each, position)))
        continue;
      have += 1;
    }
    if (count > have) {
      this.#blame(
        `${machine.name} says ${count} replicas have ${formatPosition(position)}; ${have} have said so`,
      );
    }
  }

  /**
   * A full resync is announced; why was compared with the rules when it was decided.
   * @param asked the run ID that the replica has told
   */
  announced(machine: Machine, position: Position, reason: string, asked: string): void {
    const { disk, name } = machine;
    if (!FULL_RESYNC_REASONS.some((each) => each === reason)) {
      this.#blame(`${name} announces a full resync because of ${reason}, which is no reason`);
    }
    if (!this.#ledger.includesNamed(trulyAt(disk), position)) {
      this.#blame(
        `${name} announces ${formatPosition(position)}, and is at ${formatPosition(disk.position)}`,
      );
    }
    const hasOthers = reason === 'ahead-of-master' || reason === 'different-bytes';
    if (hasOthers && disk.row.upstream === null && position.runId === asked) {
      this.#blame(`${name} learns that ${asked} has other bytes, and goes on under that run ID`);
    }
  }

  /** A replica is told that it may go on: up to where it stands its master has what it has. */
  continued(machine: Machine, replica: Machine, offset: number): void {
    const shared = this.#ledger.sharedBy(machine.disk.truth, replica.disk.truth);
    if (offset > shared) {
      this.#blame(`${machine.name} lets ${replica.name} continue from ${offset}; they share ${shared} bytes`);
    }
  }

  /**
   * A session has decided how its replica is brought up to date.
   * @param asked null: not from anywhere
   * @param hash that was brought, if it is known here
   */
  decided(
    machine: Machine,
    status: ReplicationStatus,
    asked: Position | null,
    decision: Decision,
    hash: string | null = null,
  ): void {
    // A node whose journal was lost knows no hash up to there, whatever it told before.
    if (status.historyHash === null) this.forget(machine);
    const at = machine.disk.position;
    const expected = answer(
      asked,
      machine.disk.row.history,
      at.offset,
      status.window,
      this.#bytesAt(machine, asked, hash),
    );
    // What the replica brought is not known here: with the hash of what this node has, it may have come further.
    const mayHaveMore = hash === null && asked !== null && this.#ledger.knows(asked.runId);
    const hasSame =
      mayHaveMore &&
      expected === 'past-shared-history' &&
      this.#ledger.includesNamed(trulyAt(machine.disk), asked);
    const isOther = decision.kind !== 'continue' && decision.reason === 'different-bytes';
    const hasOther = mayHaveMore && isOther && this.#hasOtherStream(machine, asked);
    // Who learns from the replica that it was rolled back has decided under the run ID that it had.
    const [left, ...older] = machine.disk.row.history.lineage;
    const before = { runId: left?.runId ?? machine.disk.row.history.runId, lineage: older };
    const isDecidedBefore =
      left?.reason === 'rolled-back' &&
      asked?.runId === left.runId &&
      decision.kind !== 'continue' &&
      decision.reason === answer(asked, before, at.offset, status.window, 'other');
    const got = decision.kind === 'continue' ? `continue ${decision.bytes}` : decision.reason;
    const request = asked === null ? 'nothing' : formatPosition(asked);
    if (got !== expected && !(hasSame && decision.kind === 'continue') && !hasOther && !isDecidedBefore) {
      this.#blame(`${machine.name} answers ${got} to ${request}; by the rules it is ${expected}`);
    }
    if (decision.kind !== 'continue' || asked === null) return;
    if (!this.#ledger.knows(asked.runId) || !this.#ledger.includesNamed(trulyAt(machine.disk), asked)) {
      this.#blame(`${machine.name} lets ${request} continue, which is not on its history`);
    }
  }

  /** Whether a replica may stand there that has other bytes than the node. */
  #hasOtherStream({ disk }: Machine, { runId, offset }: Position): boolean {
    return this.#ledger.streamsOf(runId).some((stream) => this.#ledger.sharedBy(stream, disk.truth) < offset);
  }

  /** What a node says that it would answer to PSYNC. */
  checked(
    machine: Machine,
    status: ReplicationStatus,
    asked: Position,
    hash: string | null,
    { decision }: Check,
  ): void {
    this.decided(machine, status, asked, decision, hash);
  }

  /** @returns the history hash that the node has told when it was at this position; undefined: it has not */
  hashOf(machine: Machine, position: Position): string | undefined {
    return this.#told.get(machine)?.get(formatPosition(position));
  }

  /** What a history hash at `asked` says of the bytes of the node. */
  #bytesAt(machine: Machine, asked: Position | null, hash: string | null): 'same' | 'other' | 'untold' {
    const at = trulyAt(machine.disk);
    if (asked === null || !this.#ledger.knows(asked.runId) || !this.#ledger.includesNamed(at, asked))
      return 'untold';
    if (this.#ledger.digestAt({ runId: at.runId, offset: asked.offset }) === undefined) return 'other';
    const known = this.hashOf(machine, asked);
    if (hash === null || known === undefined) return 'untold';
    return hash === known ? 'same' : 'other';
  }

  /** Two nodes that stand at one position tell one history hash, if they know it. */
  compareHashes(machine: Machine, position: Position, hash: string | null): void {
    if (hash === null) return;
    const text = formatPosition(position);
    const told = this.#told.get(machine) ?? new Map<string, string>();
    this.#told.set(machine, told.set(text, hash));
    const truth = formatPosition(trulyAt(machine.disk));
    const known = this.#hashes.get(truth);
    if (known === undefined) this.#hashes.set(truth, hash);
    else if (known !== hash)
      this.#blame(`${machine.name} has hash ${hash} at ${text}, another node ${known}`);
  }

  /** The node's folder holds other bytes now: what it told before does not count. */
  forget(machine: Machine): void {
    this.#told.delete(machine);
  }
}

function note(told: Acknowledged, machine: Machine, offset: number): void {
  const said = told.get(machine) ?? new Map<RunId, number>();
  const { truth } = machine.disk;
  said.set(truth, Math.max(offset, said.get(truth) ?? 0));
  told.set(machine, said);
}

/** @returns the offset up to which a power cut can lose nothing */
function durableOffset({ durableEnd, position }: Disk): number {
  return durableEnd ?? position.offset;
}
