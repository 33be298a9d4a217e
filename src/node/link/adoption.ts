/**
 * The switch to a snapshot: which data it must not replace, which replaced files the node keeps, and the durable step itself.
 *
 * Owns: the number of the current keyspace file, and the replaced files that are still open.
 */

import type { Page } from '../../keyspace/page.ts';
import { CloseCode } from '../../replication/close-code.ts';
import { areRelated, type History, standing } from '../../replication/history.ts';
import { formatPosition, type Position } from '../../replication/position.ts';
import type { StreamHead } from '../head/stream-head.ts';
import { inLogOf, telling } from '../ports/failures.ts';
import type { Keyspace } from '../ports/keyspace.ts';
import type { KeyspaceFiles } from '../ports/keyspace-files.ts';
import type { KeptFile, StateStore } from '../ports/state-store.ts';
import type { Log, World } from '../ports/world.ts';
import { Turns } from '../turns.ts';
import type { ReceivedSnapshot } from './incoming-snapshot.ts';

export interface AdoptionSettings {
  /** Whether a full resync may replace data by the empty keyspace of an unrelated history. */
  readonly allowEmptyMaster: boolean;
  /** Number of replaced keyspace files of diverged histories that the node keeps. */
  readonly keepReplaced: number;
}

interface AdoptionParts {
  readonly world: World;
  readonly log: Log;
  readonly settings: AdoptionSettings;
  readonly state: StateStore;
  readonly files: KeyspaceFiles;
  readonly head: StreamHead;
  /** Ends the readers of the current keyspace: the replicas' sessions, and the snapshots made for them. */
  releaseReaders(code: CloseCode, reason: string): void;
  /** Hears that a snapshot has taken over. */
  replaced(): void;
}

export class Adoption {
  readonly #parts: AdoptionParts;
  #keyspaceNumber: number;
  /** Whether the current keyspace file is damaged: the node keeps nothing of it. */
  #distrusted = false;
  /** Whether the current keyspace file has other data than the master's at the same position. */
  #differs = false;
  /** Replaced keyspace files that are not closed and put away. */
  readonly #retiring = new Set<Promise<void>>();
  /** Puts closed files away, one after the other: they may close in another order than they were replaced. */
  #retired: Promise<void> = Promise.resolve();

  constructor(parts: AdoptionParts) {
    this.#parts = parts;
    this.#keyspaceNumber = parts.state.keyspaceNumber;
  }

  /** Notes that the current keyspace file is damaged. */
  distrust(): void {
    this.#distrusted = true;
  }

  /** Whether the node must replace its data, whatever the master's history is. */
  get distrusted(): boolean {
    return this.#distrusted;
  }

  /** Notes that the current keyspace file has other data than the master's at the same position: the node must replace and keep it. */
  differ(): void {
    this.#differs = true;
  }

  /** Whether the current keyspace file has other data than the master's at the same position. */
  get differs(): boolean {
    return this.#differs;
  }

  /** Forgets the difference: the node has another master, or none, and nobody has compared the two. */
  forgetDifference(): void {
    this.#differs = false;
  }

  /** Resolves when all replaced files are closed and put away. */
  async settled(): Promise<void> {
    await Promise.all(this.#retiring);
  }

  /**
   * Protects a replica that has data from an empty master: it refuses the empty keyspace of an unrelated history, and later
   * states of that history, until a user accepts one.
   * @returns the reason why this snapshot must not take over, or null
   */
  async objection({ empty, position, lineage }: ReceivedSnapshot): Promise<string | null> {
    const { guardedAgainst } = this.#parts.state;
    const wasEmpty =
      guardedAgainst !== null &&
      (guardedAgainst === position.runId || (lineage ?? []).some(({ runId }) => runId === guardedAgainst));
    if ((!empty && !wasEmpty) || this.#parts.settings.allowEmptyMaster) return null;
    const history = this.#parts.head.history;
    const unrelated =
      lineage === null
        ? standing(history, position) === 'unknown-run-id'
        : !areRelated(history, { runId: position.runId, lineage });
    if (!unrelated) return null;
    if (await this.#isEmpty()) return null;
    if (guardedAgainst !== position.runId) this.#parts.state.save({ guardedAgainst: position.runId });
    return (
      `the master ${empty ? 'has' : 'had'} no entries, and another history (${formatPosition(position)}); this node keeps ` +
      'and serves what it has. POST /v1/replication/accept lets it be replaced'
    );
  }

  /** Whether this node has no live entries. */
  async #isEmpty(): Promise<boolean> {
    const turns = new Turns(this.#parts.world);
    for (let after: string | null = null; ; ) {
      const page: Page = await this.#parts.head.page({ prefix: '', after, limit: 1, values: false });
      if (page.entries.length > 0 || page.next === null) return page.entries.length === 0;
      after = page.next;
      await turns.pass();
    }
  }

  /**
   * Lets a checked snapshot take over.
   * @param wanted asked at the last moment: whether the node still wants the snapshot
   * @throws Error when the snapshot has not taken over; then nothing has changed
   */
  async adopt(
    { keyspaceNumber, position, lineage, hash, reason }: ReceivedSnapshot,
    wanted: () => boolean,
  ): Promise<void> {
    const { files, state, log } = this.#parts;
    const replaced = this.#parts.head.position;
    const history: History = { runId: position.runId, lineage: lineage ?? [] };
    const isUnique = this.#differs || this.#isDiverged(history, position);
    const keep = isUnique && !this.#distrusted ? this.#keptAs(reason) : null;
    // A kept file must be complete without the overlay.
    if (keep !== null) await this.#parts.head.flush();
    const keyspace = await files.open(keyspaceNumber);
    try {
      await this.#parts.head.dropKept();
      if (!wanted()) throw telling(new Error('it is not wanted any more'));
      state.switchKeyspace(keyspaceNumber, history, keep, { offset: position.offset, hash });
    } catch (error) {
      await keyspace.close();
      throw error;
    }
    // No await stands between the durable switch and the end of this function: nobody sees the node in between.
    this.#parts.releaseReaders(CloseCode.historyChanged, 'a full resync replaced the history');
    this.#retire(this.#parts.head.replaceKeyspace(keyspace, hash, this.#differs), this.#keyspaceNumber, keep);
    this.#keyspaceNumber = keyspaceNumber;
    const event = {
      position: formatPosition(position),
      replaced: formatPosition(replaced),
      ...(keep === null ? {} : { kept: keep.name }),
    };
    if (keep === null) log.info('snapshot-adopted', event);
    else log.warn(`snapshot-replaced-${this.#differs ? 'different-data' : 'another-history'}`, event);
    this.#distrusted = false;
    this.#differs = false;
    this.#parts.replaced();
  }

  /** Whether this node has bytes that the history does not have at this position. */
  #isDiverged(history: History, position: Position): boolean {
    const own = this.#parts.head.position;
    if (own.offset === 0) return false;
    return standing(history, own) !== 'shared' || own.offset > position.offset;
  }

  /** @returns the name under which the node keeps its current keyspace file; null: it keeps none */
  #keptAs(reason: ReceivedSnapshot['reason']): KeptFile | null {
    if (this.#parts.settings.keepReplaced === 0) return null;
    const { position } = this.#parts.head;
    const number = this.#keyspaceNumber;
    return {
      keyspaceNumber: number,
      name: `replaced-${number}-${position.runId.slice(0, 8)}-${position.offset}.db`,
      position,
      reason,
      at: this.#parts.world.now(),
    };
  }

  /** Closes a replaced keyspace file as soon as nobody reads it, and then keeps or removes it. */
  #retire(keyspace: Keyspace, number: number, keep: KeptFile | null): void {
    const retired = keyspace
      .close()
      .then(() => {
        this.#retired = this.#retired.catch(() => undefined).then(() => this.#putAway(number, keep));
        return this.#retired;
      })
      .catch((error: unknown) => this.#parts.log.warn('old-keyspace-left', { number, error: inLogOf(error) }))
      .finally(() => this.#retiring.delete(retired));
    this.#retiring.add(retired);
  }

  async #putAway(number: number, keep: KeptFile | null): Promise<void> {
    const { files, state, settings } = this.#parts;
    // Later files may have taken its place while somebody still read it.
    if (keep === null || !state.kept.some(({ name }) => name === keep.name)) return files.remove(number);
    await files.keep(keep);
    // Remove first, forget then: after a crash in between, the next start forgets the removed files.
    const excess = state.kept.slice(0, Math.max(0, state.kept.length - settings.keepReplaced));
    for (const file of excess) await files.removeKept(file);
    state.forgetKept(settings.keepReplaced);
  }
}
