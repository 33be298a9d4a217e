/** What nodes write to their disks: bytes of their histories, names of histories, and files. */
import type { KeptFile, StateChange } from '../../src/node/ports/state-store.ts';
import type { History } from '../../src/replication/history.ts';
import { formatPosition, type Offset, type Position, type RunId } from '../../src/replication/position.ts';
import type { Ledger } from './ledger.ts';
import type { Machine } from './machine.ts';
import { type Blame, digestOf, isSame, trulyAt, wrongContent } from './truth.ts';

/** A master durably stopped being one, and asks another to take over. */
interface HandOver {
  readonly from: Machine;
  readonly to: string;
  readonly position: Position;
}

/** Checks each change of a node's disk before the node goes on. */
export class DiskChecks {
  readonly #ledger: Ledger;
  readonly #blame: Blame;
  readonly #handOvers: HandOver[] = [];

  constructor(ledger: Ledger, blame: Blame) {
    this.#ledger = ledger;
    this.#blame = blame;
  }

  /** A node's journal has taken bytes; nobody else has them yet. */
  appended(machine: Machine, from: number, bytes: Buffer): void {
    const offset = from as Position['offset'];
    const { journal, position: after } = machine.disk;
    const before = journal.at(-2)?.end ?? from;
    if (before !== from) this.#blame(`${machine.name}'s journal has a gap: ${before} is followed by ${from}`);
    if (after.offset !== from + bytes.length) {
      this.#blame(
        `${machine.name} journals ${from} to ${from + bytes.length}, and stands at ${after.offset}`,
      );
    }
    const isMaster = machine.disk.row.upstream === null;
    if (!isMaster) this.#findStream(machine, offset, bytes);
    const wrong = this.#ledger.record({ runId: machine.disk.truth, offset }, bytes, isMaster);
    if (wrong !== null) this.#blame(`${machine.name} journals what is not of its history: ${wrong}`);
  }

  /** Which stream under its run ID a replica goes on with that stands at `offset`: one that has what it has, and the bytes. */
  #findStream({ disk }: Machine, offset: Offset, bytes: Buffer): void {
    const has = { runId: disk.truth, offset };
    const found = [disk.truth, ...this.#ledger.streamsOf(disk.row.history.runId)].find((runId) => {
      const goesOn = this.#ledger.contradiction({ runId, offset }, bytes) === null;
      return goesOn && this.#ledger.includes({ runId, offset }, has);
    });
    disk.truth = found ?? disk.truth;
  }

  saving(machine: Machine, change: StateChange): void {
    const { history, handingOver, upstream } = change;
    if (history !== undefined) this.#renaming(machine, history);
    if (handingOver === true && typeof upstream === 'string') {
      this.#handOvers.push({ from: machine, to: upstream, position: machine.disk.position });
    }
  }

  /** A snapshot takes over, or (with the same number) the keyspace file alone goes on. */
  switching(machine: Machine, keyspaceNumber: number, history: History, keep: KeptFile | null): void {
    const { disk, name } = machine;
    if (!this.#ledger.knows(history.runId)) this.#blame(`${name} takes over a history that nobody has`);
    const image = disk.files.get(keyspaceNumber);
    if (image === undefined) {
      this.#blame(`${name} switches to keyspace-${keyspaceNumber}.db, which is not there`);
      return;
    }
    if (keyspaceNumber === disk.row.keyspaceNumber || disk.row.keyspaceNumber === 0) {
      this.#checkLineage(machine, history);
      return;
    }
    const had = trulyAt(disk);
    const before = disk.position;
    const digest = digestOf(image.entries);
    const { runId, offset } = image.position;
    const streams = this.#ledger.streamsOf(runId);
    disk.truth =
      streams.find((stream) => this.#ledger.digestAt({ runId: stream, offset }) === digest) ?? runId;
    const position = { runId: disk.truth, offset };
    this.#checkLineage(machine, history);
    const wrong = wrongContent(this.#ledger, name, position, image.entries);
    if (wrong !== null) this.#blame(wrong);
    const isLost = had.offset > 0 && !this.#ledger.includes(position, had);
    // A master that was rolled back in place has written past this node: its backlog no longer has the bytes there, nor
    // their hash, so by its name what this node had is on the history that takes over.
    const isNamed = this.#ledger.includesNamed(position, before);
    if (isLost && !isNamed && keep === null && machine.settings.keepReplaced > 0) {
      this.#blame(`${name} replaces ${formatPosition(had)} by ${formatPosition(position)} and keeps nothing`);
    }
  }

  /** What was kept of diverged histories is in the folder, under its old name or the new one. */
  checkKept({ name, disk }: Machine): void {
    for (const kept of disk.row.kept) {
      if (!disk.kept.has(kept.name) && !disk.files.has(kept.keyspaceNumber)) {
        this.#blame(`${name} has kept ${kept.name}, which is not there`);
      }
    }
  }

  /** Of files that were kept no more stay than are known. */
  checkLeftBehind({ name, disk }: Machine): void {
    const known = new Set(disk.row.kept.map((kept) => kept.name));
    const left = [...disk.kept.keys()].find((file) => !known.has(file));
    if (left !== undefined) this.#blame(`${name} has ${left} in its folder, and does not know it any more`);
  }

  #renaming(machine: Machine, history: History): void {
    const from = machine.disk.position;
    const isNew = !this.#ledger.knows(history.runId);
    if (isNew) this.#branch(machine, history, from);
    else if (history.runId !== from.runId) this.#checkShared(machine, history, from);
    this.#checkLineage(machine, history);
  }

  #branch(machine: Machine, history: History, from: Position): void {
    const ledger = this.#ledger;
    const { reason, validTo = 0 } = history.lineage[0] ?? {};
    const { began } = machine;
    if (reason === 'rolled-back' && (began?.runId !== from.runId || validTo > began.offset)) {
      this.#blame(
        `${machine.name} says it shares ${from.runId} up to ${validTo}, and began at ${began?.offset}`,
      );
    }
    const offers = this.#handOvers.filter(({ to }) => to === machine.url);
    const taken = offers.find(({ position }) => isSame(position, from));
    if (reason === 'promoted' && machine.promotions === 0 && taken === undefined) {
      this.#blame(
        `${machine.name} becomes the master at ${formatPosition(from)}; what it was offered is ` +
          (offers.map(({ position }) => formatPosition(position)).join(', ') || 'nothing'),
      );
    }
    // An operator may make as many masters as there are nodes; each has a house of its own.
    const isCopied = reason === 'copied' || reason === 'rolled-back';
    const isNewHouse = isCopied || (reason === 'promoted' && machine.promotions > 0);
    const truth = trulyAt(machine.disk);
    ledger.branch(history.runId, truth, isNewHouse ? history.runId : ledger.houseOf(truth.runId));
    machine.disk.truth = history.runId;
  }

  /** The node's bytes are of another history from now on. */
  #checkShared({ name, disk }: Machine, { runId }: History, from: Position): void {
    const shared = (stream: RunId): number => this.#ledger.sharedBy(stream, disk.truth);
    const [best = runId] = this.#ledger.streamsOf(runId).sort((one, other) => shared(other) - shared(one));
    if (from.offset > shared(best)) {
      this.#blame(
        `${name} takes the name ${runId} at ${formatPosition(from)}; shared is only up to ${shared(best)}`,
      );
    }
    disk.truth = best;
  }

  #checkLineage({ name, disk }: Machine, history: History): void {
    if (!this.#ledger.knows(history.runId)) return;
    const wrong = this.#ledger.exaggeration(history, disk.truth);
    if (wrong !== null) this.#blame(`${name}: ${wrong}`);
  }
}
