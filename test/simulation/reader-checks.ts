/** What nodes tell clients and followers: results of writes, entries, and positions. */
import type { Entry } from '../../src/keyspace/entry.ts';
import type { Prefixes } from '../../src/keyspace/prefixes.ts';
import type { WriteResult } from '../../src/node/write/write-turn.ts';
import { formatPosition, type Position, parsePosition, type RunId } from '../../src/replication/position.ts';
import type { Ledger } from './ledger.ts';
import type { Machine } from './machine.ts';
import { type Blame, difference, type Entries, trulyAt } from './truth.ts';

/** Of the name that nodes know; a true name may be longer. */
const RUN_ID_LENGTH = 40;

/** Checks the answers of nodes to clients and followers. */
export class ReaderChecks {
  readonly #ledger: Ledger;
  readonly #blame: Blame;

  constructor(ledger: Ledger, blame: Blame) {
    this.#ledger = ledger;
    this.#blame = blame;
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
    const known = this.#ledger.knows(told.runId) ? this.#ledger.streamsOf(told.runId) : [];
    const places = known
      .map((runId) => ({ runId, offset: told.offset }))
      .filter((place) => this.#ledger.digestAt(place) !== undefined);
    if (places.length === 0) {
      this.#blame(`${name} is told ${at}, where nobody can be`);
      return null;
    }
    // The node's own stream, or the one that it was on when it said this.
    const isOwn = ({ runId }: Position): boolean =>
      this.#ledger.includes(trulyAt(machine.disk), { runId, offset: told.offset });
    const truth =
      places.find(isOwn) ?? places.find((place) => before === null || this.#ledger.includes(place, before));
    if (truth === undefined || (before !== null && !this.#ledger.includes(truth, before))) {
      // A position of bytes that were lost is also one of the bytes that were written in their place: followers tell no hash.
      if (before !== null && this.#isAmbiguous(before)) return null;
      this.#blame(`${name} was at ${before === null ? 'nothing' : formatPosition(before)} and is told ${at}`);
      return truth ?? null;
    }
    if (seen === null) return truth;
    const there = [...this.#ledger.entriesAt(truth)].filter(([key]) => seen.prefixes.matches(key));
    const wrong = difference(new Map(there), seen.entries);
    if (wrong !== null) this.#blame(`${name} at ${at} has ${wrong}`);
    return truth;
  }

  /** A follower is told that the bytes up to where it truly is are not the node's. */
  disowned(name: string, truth: Position | null): void {
    if (truth !== null && !this.#isAmbiguous(truth))
      this.#blame(`${name} is at ${formatPosition(truth)}, and is told that no write ends there`);
  }

  /** Whether there are two streams under the run ID that are not the same up to there. */
  #isAmbiguous({ runId, offset }: Position): boolean {
    const name = runId.slice(0, RUN_ID_LENGTH) as RunId;
    return this.#ledger.streamsOf(name).some((stream) => this.#ledger.sharedBy(stream, runId) < offset);
  }

  /** @param there what is in the node, as a list of its entries shows it */
  read(machine: Machine, key: string, got: Entry | null, there: Entry | null): void {
    const isEqual =
      got?.version === there?.version &&
      got?.expiresAt === there?.expiresAt &&
      (got === null || there === null || got.value.equals(there.value));
    if (!isEqual)
      this.#blame(`${machine.name} reads ${key} as version ${got?.version}; listed is ${there?.version}`);
  }

  /** A client has got its answer: what it wrote is in the journal. */
  answered(machine: Machine, key: string | null, value: Buffer | null, result: WriteResult): void {
    const position = parsePosition(result.position);
    if (position === null || !this.#ledger.knows(position.runId)) {
      this.#blame(`${machine.name} answers a write with ${result.position}`);
      return;
    }
    if (!this.#ledger.includesNamed(trulyAt(machine.disk), position)) {
      this.#blame(
        `${machine.name} answers ${result.position}; its journal ends at ${machine.disk.position.offset}`,
      );
    }
    const entry = result.results[0]?.entry;
    if (key === null || value === null || entry === null || entry === undefined) return;
    const set = this.#ledger.setAt(machine.disk.truth, entry.version);
    if (set?.key !== key || !set.value.equals(value)) {
      this.#blame(
        `${machine.name} answers that ${key} has version ${entry.version}, which is not that write`,
      );
    }
  }

  /** A node says that a reader may rely on this position. */
  reached(machine: Machine, position: Position): void {
    const at = machine.disk.position;
    if (!this.#ledger.includesNamed(trulyAt(machine.disk), position)) {
      this.#blame(`${machine.name} says ${formatPosition(position)} is reached, at ${formatPosition(at)}`);
    }
  }

  /** A client was told that nothing of its write happened. @param value that no other write has */
  refused(machine: Machine, value: string): void {
    if (this.#ledger.hasValue(value))
      this.#blame(`${machine.name} refuses to write ${value}, and has written it`);
  }
}
