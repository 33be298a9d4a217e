/**
 * What psyncd promises, checked after every step of a run, against what all nodes have done so far.
 *
 * Owns: the ledger, where each node was seen last, and the first promise that was broken.
 */
import type { Entry } from '../../src/keyspace/entry.ts';
import type { Prefixes } from '../../src/keyspace/prefixes.ts';
import type { Check, ReplicationStatus } from '../../src/node/node.ts';
import type { KeptFile, StateChange } from '../../src/node/ports.ts';
import type { WriteResult } from '../../src/node/write/write-turn.ts';
import { type Decision, FULL_RESYNC_REASONS } from '../../src/replication/decide.ts';
import type { History } from '../../src/replication/history.ts';
import {
  formatPosition,
  type Offset,
  type Position,
  parsePosition,
  type RunId,
} from '../../src/replication/position.ts';
import type { Disk } from './disk.ts';
import { addDigests, entryDigest } from './keyspace-image.ts';
import { Ledger } from './ledger.ts';
import type { Machine } from './machine.ts';
import { answer } from './rules.ts';
import { Times } from './times.ts';

/** Of the name that nodes know; a true name may be longer. */
const RUN_ID_LENGTH = 40;

type Entries = ReadonlyMap<string, Entry>;

interface Sighting {
  readonly position: Position;
  /** Under the true name of its stream. */
  readonly truth: Position;
  readonly adoptions: number;
}

/** A master durably stopped being one, and asks another to take over. */
interface HandOver {
  readonly from: Machine;
  readonly to: string;
  readonly position: Position;
}

export class Referee {
  readonly ledger = new Ledger();
  readonly #seen = new Map<Machine, Sighting>();
  readonly #reported: (what: string) => void;
  readonly #machines: Machine[] = [];
  /** How far each replica has said it has each history. */
  readonly #acknowledged = new Map<Machine, Map<RunId, number>>();
  /** The history hash that was told first at each position. */
  readonly #hashes = new Map<string, string>();
  /** The history hashes that each node has told itself. */
  readonly #told = new Map<Machine, Map<string, string>>();
  #handOvers: HandOver[] = [];
  readonly #times = new Times((what) => this.blame(what));
  #verdict: string | null = null;

  /** @param reported told each broken promise */
  constructor(reported: (what: string) => void) {
    this.#reported = reported;
  }

  /** The first promise that was broken, or null. */
  get verdict(): string | null {
    return this.#verdict;
  }

  blame(what: string): void {
    this.#reported(what);
    this.#verdict ??= what;
  }

  watch(machine: Machine): void {
    this.#machines.push(machine);
    this.ledger.begin(machine.disk.row.history.runId);
  }

  /** Called after each step. */
  async check(): Promise<void> {
    for (const machine of this.#machines) {
      await this.#look(machine);
      this.#times.check(machine);
    }
    this.#countMasters();
  }

  /** The folder of a node that is down holds what an older copy held. @param noticed psyncd.db is another file */
  restored(machine: Machine, noticed: boolean): void {
    const { disk } = machine;
    this.#seen.delete(machine);
    this.#told.delete(machine);
    if (noticed || disk.row.upstream !== null) return;
    const { runId, offset } = disk.position;
    disk.truth = this.ledger.fork(runId, disk.truth, offset);
  }

  /** A node's journal has taken bytes; nobody else has them yet. */
  appended(machine: Machine, from: number, bytes: Buffer): void {
    const offset = from as Position['offset'];
    const { journal, position: after } = machine.disk;
    const before = journal.at(-2)?.end ?? from;
    if (before !== from) this.blame(`${machine.name}'s journal has a gap: ${before} is followed by ${from}`);
    if (after.offset !== from + bytes.length) {
      this.blame(`${machine.name} journals ${from} to ${from + bytes.length}, and stands at ${after.offset}`);
    }
    const isMaster = machine.disk.row.upstream === null;
    if (!isMaster) this.#findStream(machine, offset, bytes);
    const wrong = this.ledger.record({ runId: machine.disk.truth, offset }, bytes, isMaster);
    if (wrong !== null) this.blame(`${machine.name} journals what is not of its history: ${wrong}`);
  }

  /** Which stream under its run ID a replica goes on with that stands at `offset`: one that has what it has, and the bytes. */
  #findStream({ disk }: Machine, offset: Offset, bytes: Buffer): void {
    const has = { runId: disk.truth, offset };
    const found = [disk.truth, ...this.ledger.streamsOf(disk.row.history.runId)].find((runId) => {
      const goesOn = this.ledger.contradiction({ runId, offset }, bytes) === null;
      return goesOn && this.ledger.includes({ runId, offset }, has);
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
    if (!this.ledger.knows(history.runId)) this.blame(`${name} takes over a history that nobody has`);
    const image = disk.files.get(keyspaceNumber);
    if (image === undefined) {
      this.blame(`${name} switches to keyspace-${keyspaceNumber}.db, which is not there`);
      return;
    }
    if (keyspaceNumber === disk.row.keyspaceNumber || disk.row.keyspaceNumber === 0) {
      this.#checkLineage(machine, history);
      return;
    }
    const had = trulyAt(disk);
    const digest = digestOf(image.entries);
    const { runId, offset } = image.position;
    const streams = this.ledger.streamsOf(runId);
    disk.truth =
      streams.find((stream) => this.ledger.digestAt({ runId: stream, offset }) === digest) ?? runId;
    const position = { runId: disk.truth, offset };
    this.#checkLineage(machine, history);
    this.#compare(name, position, image.entries);
    const isLost = had.offset > 0 && !this.ledger.includes(position, had);
    if (isLost && keep === null && machine.settings.keepReplaced > 0) {
      this.blame(`${name} replaces ${formatPosition(had)} by ${formatPosition(position)} and keeps nothing`);
    }
  }

  /** What was kept of diverged histories is in the folder, under its old name or the new one. */
  #checkKept({ name, disk }: Machine): void {
    for (const kept of disk.row.kept) {
      if (!disk.kept.has(kept.name) && !disk.files.has(kept.keyspaceNumber)) {
        this.blame(`${name} has kept ${kept.name}, which is not there`);
      }
    }
  }

  /** Of files that were kept no more stay than are known. */
  checkLeftBehind({ name, disk }: Machine): void {
    const known = new Set(disk.row.kept.map((kept) => kept.name));
    const left = [...disk.kept.keys()].find((file) => !known.has(file));
    if (left !== undefined) this.blame(`${name} has ${left} in its folder, and does not know it any more`);
  }

  /** A session gives its socket the bytes after `from`. */
  handedOut(machine: Machine, runId: RunId, from: number, bytes: Buffer): void {
    const { disk, name } = machine;
    const at = disk.position;
    if (runId !== at.runId) this.blame(`${name} hands out ${runId}, and is at ${formatPosition(at)}`);
    if (from + bytes.length > at.offset) {
      this.blame(`${name} hands out byte ${from + bytes.length}; its journal ends at ${at.offset}`);
    }
    const wrong = this.ledger.contradiction({ runId: disk.truth, offset: from as Position['offset'] }, bytes);
    if (wrong !== null) this.blame(`${name} hands out what is not of its history: ${wrong}`);
  }

  /**
   * A follower is told where it is, and may show what it has of its prefixes.
   * @param before where it truly was; null: it had nothing
   * @returns where it truly is; null: it was misled by a position that two streams have
   */
  followed(
    name: string,
    machine: Machine,
    before: Position | null,
    told: Position,
    seen: { readonly prefixes: Prefixes; readonly entries: Entries } | null,
  ): Position | null {
    const at = formatPosition(told);
    const known = this.ledger.knows(told.runId) ? this.ledger.streamsOf(told.runId) : [];
    const places = known
      .map((runId) => ({ runId, offset: told.offset }))
      .filter((place) => this.ledger.digestAt(place) !== undefined);
    if (places.length === 0) {
      this.blame(`${name} is told ${at}, where nobody can be`);
      return null;
    }
    // The node's own stream, or the one that it was on when it said this.
    const isOwn = ({ runId }: Position): boolean =>
      this.ledger.includes(trulyAt(machine.disk), { runId, offset: told.offset });
    const truth =
      places.find(isOwn) ?? places.find((place) => before === null || this.ledger.includes(place, before));
    if (truth === undefined || (before !== null && !this.ledger.includes(truth, before))) {
      // A position of bytes that were lost is also one of the bytes that were written in their place: followers tell no hash.
      if (before !== null && this.#isAmbiguous(before)) return null;
      this.blame(`${name} was at ${before === null ? 'nothing' : formatPosition(before)} and is told ${at}`);
      return truth ?? null;
    }
    if (seen === null) return truth;
    const there = [...this.ledger.entriesAt(truth)].filter(([key]) => seen.prefixes.matches(key));
    const wrong = difference(new Map(there), seen.entries);
    if (wrong !== null) this.blame(`${name} at ${at} has ${wrong}`);
    return truth;
  }

  /** Whether there are two streams under the run ID that are not the same up to there. */
  #isAmbiguous({ runId, offset }: Position): boolean {
    const name = runId.slice(0, RUN_ID_LENGTH) as RunId;
    return this.ledger.streamsOf(name).some((stream) => this.ledger.sharedBy(stream, runId) < offset);
  }

  acknowledges(machine: Machine, offset: number): void {
    const at = machine.disk.position;
    if (offset > at.offset) {
      this.blame(`${machine.name} acknowledges ${offset}; its journal ends at ${at.offset}`);
    }
    const said = this.#acknowledged.get(machine) ?? new Map<RunId, number>();
    const { truth } = machine.disk;
    said.set(truth, Math.max(offset, said.get(truth) ?? 0));
    this.#acknowledged.set(machine, said);
  }

  /** A client is told that so many replicas have what it wrote: they have said so, and were right. */
  waited(machine: Machine, position: Position, count: number): void {
    let have = 0;
    for (const [replica, said] of this.#acknowledged) {
      const positions = [...said].map(([runId, offset]) => ({ runId, offset: offset as Position['offset'] }));
      if (replica === machine || !positions.some((each) => this.ledger.includesNamed(each, position)))
        continue;
      have += 1;
    }
    if (count > have) {
      this.blame(
        `${machine.name} says ${count} replicas have ${formatPosition(position)}; ${have} have said so`,
      );
    }
  }

  /** @param there what is in the node, as a list of its entries shows it */
  read(machine: Machine, key: string, got: Entry | null, there: Entry | null): void {
    const isEqual =
      got?.version === there?.version &&
      got?.expiresAt === there?.expiresAt &&
      (got === null || there === null || got.value.equals(there.value));
    if (!isEqual)
      this.blame(`${machine.name} reads ${key} as version ${got?.version}; listed is ${there?.version}`);
  }

  /**
   * A full resync is announced; why was compared with the rules when it was decided.
   * @param asked the run ID that the replica has told
   */
  announced(machine: Machine, position: Position, reason: string, asked: string): void {
    const { disk, name } = machine;
    if (!FULL_RESYNC_REASONS.some((each) => each === reason)) {
      this.blame(`${name} announces a full resync because of ${reason}, which is no reason`);
    }
    if (!this.ledger.includesNamed(trulyAt(disk), position)) {
      this.blame(`${name} announces ${formatPosition(position)}, and is at ${formatPosition(disk.position)}`);
    }
    const hasOthers = reason === 'ahead-of-master' || reason === 'different-bytes';
    if (hasOthers && disk.row.upstream === null && position.runId === asked) {
      this.blame(`${name} learns that ${asked} has other bytes, and goes on under that run ID`);
    }
  }

  /** A replica is told that it may go on: up to where it stands its master has what it has. */
  continued(machine: Machine, replica: Machine, offset: number): void {
    const shared = this.ledger.sharedBy(machine.disk.truth, replica.disk.truth);
    if (offset > shared) {
      this.blame(`${machine.name} lets ${replica.name} continue from ${offset}; they share ${shared} bytes`);
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
    const at = machine.disk.position;
    const expected = answer(
      asked,
      machine.disk.row.history,
      at.offset,
      status.backlog,
      this.#bytesAt(machine, asked, hash),
    );
    // What the replica brought is not known here: with the hash of what this node has, it may have come further.
    const mayHaveMore = hash === null && asked !== null && this.ledger.knows(asked.runId);
    const hasSame =
      mayHaveMore &&
      expected === 'past-shared-history' &&
      this.ledger.includesNamed(trulyAt(machine.disk), asked);
    const isOther = decision.kind !== 'continue' && decision.reason === 'different-bytes';
    const hasOther = mayHaveMore && isOther && this.#hasOtherStream(machine, asked);
    // Who learns from the replica that it was rolled back has decided under the run ID that it had.
    const [left, ...older] = machine.disk.row.history.lineage;
    const before = { runId: left?.runId ?? machine.disk.row.history.runId, lineage: older };
    const isDecidedBefore =
      left?.reason === 'rolled-back' &&
      asked?.runId === left.runId &&
      decision.kind !== 'continue' &&
      decision.reason === answer(asked, before, at.offset, status.backlog, 'other');
    const got = decision.kind === 'continue' ? `continue ${decision.bytes}` : decision.reason;
    const request = asked === null ? 'nothing' : formatPosition(asked);
    if (got !== expected && !(hasSame && decision.kind === 'continue') && !hasOther && !isDecidedBefore) {
      this.blame(`${machine.name} answers ${got} to ${request}; by the rules it is ${expected}`);
    }
    if (decision.kind !== 'continue' || asked === null) return;
    if (!this.ledger.knows(asked.runId) || !this.ledger.includesNamed(trulyAt(machine.disk), asked)) {
      this.blame(`${machine.name} lets ${request} continue, which is not on its history`);
    }
  }

  /** Whether a replica may stand there that has other bytes than the node. */
  #hasOtherStream({ disk }: Machine, { runId, offset }: Position): boolean {
    return this.ledger.streamsOf(runId).some((stream) => this.ledger.sharedBy(stream, disk.truth) < offset);
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
    if (asked === null || !this.ledger.knows(asked.runId) || !this.ledger.includesNamed(at, asked))
      return 'untold';
    if (this.ledger.digestAt({ runId: at.runId, offset: asked.offset }) === undefined) return 'other';
    const known = this.hashOf(machine, asked);
    if (hash === null || known === undefined) return 'untold';
    return hash === known ? 'same' : 'other';
  }

  /** Two nodes that stand at one position tell one history hash, if they know it. */
  #compareHashes(machine: Machine, position: Position, hash: string | null): void {
    if (hash === null) return;
    const text = formatPosition(position);
    const told = this.#told.get(machine) ?? new Map<string, string>();
    this.#told.set(machine, told.set(text, hash));
    const truth = formatPosition(trulyAt(machine.disk));
    const known = this.#hashes.get(truth);
    if (known === undefined) this.#hashes.set(truth, hash);
    else if (known !== hash) this.blame(`${machine.name} has hash ${hash} at ${text}, another node ${known}`);
  }

  /** A client has got its answer: what it wrote is in the journal. */
  answered(machine: Machine, key: string | null, value: Buffer | null, result: WriteResult): void {
    const position = parsePosition(result.position);
    if (position === null || !this.ledger.knows(position.runId)) {
      this.blame(`${machine.name} answers a write with ${result.position}`);
      return;
    }
    if (!this.ledger.includesNamed(trulyAt(machine.disk), position)) {
      this.blame(
        `${machine.name} answers ${result.position}; its journal ends at ${machine.disk.position.offset}`,
      );
    }
    const entry = result.results[0]?.entry;
    if (key === null || value === null || entry === null || entry === undefined) return;
    const set = this.ledger.setAt(machine.disk.truth, entry.version);
    if (set?.key !== key || !set.value.equals(value)) {
      this.blame(`${machine.name} answers that ${key} has version ${entry.version}, which is not that write`);
    }
  }

  /** A node says that a reader may rely on this position. */
  reached(machine: Machine, position: Position): void {
    const at = machine.disk.position;
    if (!this.ledger.includesNamed(trulyAt(machine.disk), position)) {
      this.blame(`${machine.name} says ${formatPosition(position)} is reached, at ${formatPosition(at)}`);
    }
  }

  /** A client was told that nothing of its write happened. @param value that no other write has */
  refused(machine: Machine, value: string): void {
    if (this.ledger.hasValue(value))
      this.blame(`${machine.name} refuses to write ${value}, and has written it`);
  }

  async #look(machine: Machine): Promise<void> {
    const { node } = machine;
    if (node === null) return;
    const { position } = node;
    const before = this.#seen.get(machine);
    const { adoptions } = machine.disk;
    if (before !== undefined && isSame(before.position, position) && before.adoptions === adoptions) return;
    const truth = { runId: machine.disk.truth, offset: position.offset };
    this.#seen.set(machine, { position, truth, adoptions });
    if (before !== undefined && before.adoptions === adoptions) this.#checkProgress(machine, before);
    machine.mayHaveLost = false;
    this.#checkKept(machine);
    this.#compareHashes(machine, position, node.status.historyHash);
    const page = await machine.everything();
    if (page !== null) this.#compare(machine.name, truth, page);
  }

  #checkProgress(machine: Machine, { position: before, truth }: Sighting): void {
    const { name, mayHaveLost, disk } = machine;
    const at = machine.node?.position as Position;
    const step = `${name} was at ${formatPosition(before)} and is at ${formatPosition(at)}`;
    if (this.ledger.includes(trulyAt(disk), truth)) return;
    if (!mayHaveLost) this.blame(`${step}: what it had is gone`);
    // A replica gets from its master what it has lost.
    else if (at.runId === before.runId && disk.row.upstream === null) {
      this.blame(`${step}: it lost bytes, and kept its run ID`);
    }
  }

  #renaming(machine: Machine, history: History): void {
    const from = machine.disk.position;
    const isNew = !this.ledger.knows(history.runId);
    if (isNew) this.#branch(machine, history, from);
    else if (history.runId !== from.runId) this.#checkShared(machine, history, from);
    this.#checkLineage(machine, history);
  }

  #branch(machine: Machine, history: History, from: Position): void {
    const { ledger } = this;
    const { reason, validTo = 0 } = history.lineage[0] ?? {};
    const { began } = machine;
    if (reason === 'rolled-back' && (began?.runId !== from.runId || validTo > began.offset)) {
      this.blame(
        `${machine.name} says it shares ${from.runId} up to ${validTo}, and began at ${began?.offset}`,
      );
    }
    const offers = this.#handOvers.filter(({ to }) => to === machine.url);
    const taken = offers.find(({ position }) => isSame(position, from));
    if (reason === 'promoted' && machine.promotions === 0 && taken === undefined) {
      this.blame(
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
    const shared = (stream: RunId): number => this.ledger.sharedBy(stream, disk.truth);
    const [best = runId] = this.ledger.streamsOf(runId).sort((one, other) => shared(other) - shared(one));
    if (from.offset > shared(best)) {
      this.blame(
        `${name} takes the name ${runId} at ${formatPosition(from)}; shared is only up to ${shared(best)}`,
      );
    }
    disk.truth = best;
  }

  #checkLineage({ name, disk }: Machine, history: History): void {
    if (!this.ledger.knows(history.runId)) return;
    const wrong = this.ledger.exaggeration(history, disk.truth);
    if (wrong !== null) this.blame(`${name}: ${wrong}`);
  }

  #compare(name: string, position: Position, entries: Entries): void {
    const expected = this.ledger.digestAt(position);
    if (expected === undefined) {
      this.blame(`${name} is at ${formatPosition(position)}, which is inside of a command or transaction`);
      return;
    }
    if (digestOf(entries) === expected) return;
    const truth = this.ledger.entriesAt(position);
    const wrong = difference(truth, entries);
    this.blame(`${name} at ${formatPosition(position)} has ${wrong}`);
  }

  /** A hand-over never makes two masters. */
  #countMasters(): void {
    const masters = new Map<string, Machine>();
    for (const machine of this.#machines) {
      const { file, truth, row } = machine.disk;
      // A copy says at its start under which run ID it goes on.
      if (row.upstream !== null || (row.file !== null && row.file !== file)) continue;
      const house = this.ledger.houseOf(truth);
      const other = masters.get(house);
      if (other !== undefined) this.blame(`${other.name} and ${machine.name} are both masters of ${house}`);
      masters.set(house, machine);
    }
  }
}

/** Where the disk is, under the true name of its stream. */
function trulyAt({ position, truth }: Disk): Position {
  return { runId: truth, offset: position.offset };
}

function digestOf(entries: Entries): number {
  let digest = 0;
  for (const [key, entry] of entries) digest = addDigests(digest, entryDigest(key, entry));
  return digest;
}

function isSame(one: Position, other: Position): boolean {
  return one.offset === other.offset && one.runId === other.runId;
}

/** @returns the first entry that is not what it should be, or null */
function difference(truth: Entries, entries: Entries): string | null {
  const text = (key: string, from: Entries): string => {
    const entry = from.get(key);
    return entry === undefined
      ? 'nothing'
      : `${entry.value.toString('latin1')} v${entry.version} ${entry.expiresAt}`;
  };
  for (const key of new Set([...truth.keys(), ...entries.keys()])) {
    const [expected, found] = [text(key, truth), text(key, entries)];
    if (expected !== found) return `${key} = ${found}; the history says ${expected}`;
  }
  return null;
}
