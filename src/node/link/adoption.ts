/**
 * A snapshot takes over: what it may not replace, what is kept of what it replaces, and the switch itself.
 *
 * Owns: which keyspace file is current, and the replaced ones on their way out.
 */
import { CloseCode } from '../../replication/close-code.ts';
import { areRelated, type History, standing } from '../../replication/history.ts';
import { formatPosition, type Position } from '../../replication/position.ts';
import type { StreamHead } from '../head/stream-head.ts';
import type { KeptFile, Keyspace, KeyspaceFiles, Log, StateStore, World } from '../ports.ts';
import type { ReceivedSnapshot } from './incoming-snapshot.ts';

export interface AdoptionSettings {
  /** A full resync may replace data by the empty keyspace of an unrelated history. */
  readonly allowEmptyMaster: boolean;
  /** So many replaced keyspace files of diverged histories are kept. */
  readonly keepReplaced: number;
}

interface AdoptionParts {
  readonly world: World;
  readonly log: Log;
  readonly settings: AdoptionSettings;
  readonly state: StateStore;
  readonly files: KeyspaceFiles;
  readonly head: StreamHead;
  /** Ends what reads the present keyspace for others: the replicas' sessions, and the snapshots made for them. */
  releaseReaders(code: CloseCode, reason: string): void;
  /** A snapshot has taken over. */
  replaced(): void;
}

export class Adoption {
  readonly #parts: AdoptionParts;
  #keyspaceNumber: number;
  /** The present keyspace file is damaged: nothing of it is worth keeping. */
  #distrusted = false;
  /** The present keyspace file holds other data than the master's at the same position. */
  #differs = false;
  /** Replaced keyspace files on their way out. */
  readonly #retiring = new Set<Promise<void>>();
  /** What is done with closed files, one after the other: they may close in another order than they were replaced. */
  #retired: Promise<void> = Promise.resolve();

  constructor(parts: AdoptionParts) {
    this.#parts = parts;
    this.#keyspaceNumber = parts.state.keyspaceNumber;
  }

  /** The present keyspace file is damaged. */
  distrust(): void {
    this.#distrusted = true;
  }

  /** Whether what this node has must be replaced, whatever the master's history is. */
  get distrusted(): boolean {
    return this.#distrusted;
  }

  /** The present keyspace file holds other data than the master's at the same position: it is to be replaced, and kept. */
  differ(): void {
    this.#differs = true;
  }

  get differs(): boolean {
    return this.#differs;
  }

  /** There is another master, or none: compared with that one nothing is known to be different. */
  forgetDifference(): void {
    this.#differs = false;
  }

  /** Resolves when no replaced file is on its way out any more. */
  async settled(): Promise<void> {
    await Promise.all(this.#retiring);
  }

  /**
   * A replica that holds data does not replace it by the empty keyspace of an unrelated history; nor by what has been
   * written to that history since, until somebody accepts it.
   * @returns why this snapshot must not take over, or null
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
    const { entries } = await this.#parts.head.page({ prefix: '', after: null, limit: 1, values: false });
    if (entries.length === 0) return null;
    if (guardedAgainst !== position.runId) this.#parts.state.save({ guardedAgainst: position.runId });
    return (
      `the master ${empty ? 'has' : 'had'} no entries, and another history (${formatPosition(position)}); this node keeps ` +
      'and serves what it has. POST /v1/replication/accept lets it be replaced'
    );
  }

  /**
   * A snapshot that was received and checked takes over.
   * @param wanted asked at the last moment: whether it still is
   * @throws Error when it has not taken over; then nothing has changed
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
    // What is kept has to be all in its file.
    if (keep !== null) await this.#parts.head.flush();
    const keyspace = await files.open(keyspaceNumber);
    try {
      if (!wanted()) throw new Error('it is not wanted any more');
      state.switchKeyspace(keyspaceNumber, history, keep, { offset: position.offset, hash });
    } catch (error) {
      await keyspace.close();
      throw error;
    }
    // The switch has happened; nothing came between, and nothing comes before the node knows it.
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

  /** Whether this node has something that is not in the history at this position. */
  #isDiverged(history: History, position: Position): boolean {
    const own = this.#parts.head.position;
    if (own.offset === 0) return false;
    return standing(history, own) !== 'shared' || own.offset > position.offset;
  }

  /** @returns under which name the present keyspace file is kept when it is replaced; null: it is not */
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

  /** Closes a replaced keyspace file, when nobody reads it any more, and keeps it or removes it. */
  #retire(keyspace: Keyspace, number: number, keep: KeptFile | null): void {
    const retired = keyspace
      .close()
      .then(() => {
        this.#retired = this.#retired.catch(() => undefined).then(() => this.#putAway(number, keep));
        return this.#retired;
      })
      .catch((error: unknown) => this.#parts.log.warn('old-keyspace-left', { number, error: String(error) }))
      .finally(() => this.#retiring.delete(retired));
    this.#retiring.add(retired);
  }

  async #putAway(number: number, keep: KeptFile | null): Promise<void> {
    const { files, state, settings } = this.#parts;
    // While it was read on, later ones may have taken its place.
    if (keep === null || !state.kept.some(({ name }) => name === keep.name)) return files.remove(number);
    await files.keep(keep);
    // Removed before they are forgotten: after a crash in between, the next start forgets them.
    const excess = state.kept.slice(0, Math.max(0, state.kept.length - settings.keepReplaced));
    for (const file of excess) await files.removeKept(file);
    state.forgetKept(settings.keepReplaced);
  }
}
