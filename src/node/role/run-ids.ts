/**
 * The run ID of this node's history: every reason why it changes.
 *
 * Invariant: the node stores a new run ID before anybody learns of it, and closes the sessions of the old one.
 */
import { CloseCode } from '../../replication/close-code.ts';
import { continued, type History, type LineageReason, renamed } from '../../replication/history.ts';
import type { HashedOffset } from '../../replication/history-hash.ts';
import type { AnsweredLineage } from '../../replication/link-phases.ts';
import { formatPosition, type Offset, type Position, type RunId } from '../../replication/position.ts';
import { replicaName } from '../../replication/upstream.ts';
import type { StreamHead } from '../head/stream-head.ts';
import type { StateStore } from '../ports/state-store.ts';
import type { Log, World } from '../ports/world.ts';
import type { Session } from '../session/session.ts';
import type { Sessions } from '../session/sessions.ts';

const COPIED =
  'psyncd.db is not the file that the last run left: the data folder was copied or restored, and another node may have gone on ' +
  'under the old run ID; whoever shares the bytes continues, all others get a snapshot';

interface RunIdsParts {
  readonly world: World;
  readonly log: Log;
  readonly state: StateStore;
  readonly head: StreamHead;
  readonly sessions: Sessions;
  /** Hears that the history has a new run ID. */
  renamed(): void;
}

interface Change {
  /** Becomes a master in the same durable step. */
  readonly upstream?: null;
  /** The session whose request caused the change, and which waits for the answer. */
  readonly except?: Session | null;
  /** The end of the bytes that the old run ID and the new one share; absent: the head. */
  readonly validTo?: Offset;
}

export class RunIds {
  readonly #parts: RunIdsParts;
  /** The position at which this process began. Another process, or the disk, has brought the node there. */
  readonly #began: Position;

  constructor(parts: RunIdsParts) {
    this.#parts = parts;
    this.#began = parts.head.position;
  }

  /** Gives the history a new run ID; the old one becomes an ancestor. @throws StorageError when the disk does not take it */
  rename(reason: LineageReason, { upstream, except = null, validTo }: Change = {}): void {
    const { head, state, world } = this.#parts;
    const history = renamed(state.history, {
      runId: world.newRunId(),
      validTo: validTo ?? head.offset,
      reason,
      at: world.now(),
    });
    const change = upstream === undefined ? {} : { upstream, handingOver: false };
    this.#store(history, reason, change, except);
  }

  /** Renames after a loss: under the old run ID this node would write other bytes at offsets that others may have. */
  renameAfterLoss(): void {
    this.rename(this.#parts.state.isCopy ? 'copied' : 'unclean-stop');
  }

  /**
   * Decides the run ID of a node whose files are a copy. A master takes a new run ID, because others may have written other bytes
   * under the old one. A replica keeps it: up to its position its bytes are its master's, and PSYNC decides the rest. It stays a copy
   * until it receives its master's stream, and a node that has handed over does until the target answers.
   */
  settleCopy(): void {
    const { state } = this.#parts;
    if (state.isCopy && state.upstream === null) this.rename('copied');
  }

  /** Whether somebody can show that the files of this master are older than an earlier process of it. */
  get canBeOutdated(): boolean {
    const { head, state } = this.#parts;
    return state.upstream === null && head.history.runId === this.#began.runId;
  }

  /**
   * Renames a master whose files are older than an earlier process of it, as after a rollback of the machine: a replica, or the archive,
   * has bytes of its run ID that the master does not have. From the position where this process began both have gone on under one run ID.
   * A replica concludes nothing, because it may merely lag. A process renames at most once for this reason: nobody has unknown
   * bytes of a run ID that the process has made itself.
   * @param session the session that has told this, and waits for the answer; null: the archive has
   * @param shared the offset up to which both surely have the same bytes: an earlier process of these files may have written others. It is 0
   *   if an archive does not prove any; null: the node archives nothing, and replicas compare hashes
   * @throws StorageError when the disk does not take the new run ID
   */
  renameOutdated(session: Session | null, shared: Offset | null = null): void {
    const { head, log } = this.#parts;
    if (!this.canBeOutdated) return;
    const before = formatPosition(head.position);
    const validTo = shared === null || shared > this.#began.offset ? this.#began.offset : shared;
    this.rename('rolled-back', { except: session, validTo });
    log.error('rolled-back', {
      detail:
        `${session === null ? 'the archive' : 'a replica'} has writes of this node's history that this node does not have: its files are older than what it has ` +
        `handed out, as after a restore. It goes on under a new run ID; what it had written up to byte ${validTo} ` +
        'is shared with the old one, later writes that only others have are lost to it',
      ...(session !== null && { replica: replicaName(session) }),
      before,
      after: formatPosition(head.position),
    });
  }

  /** Takes over the history of a master that continues from this node's position. */
  continued(runId: RunId, lineage: AnsweredLineage, hash: bigint | null): void {
    const { head, sessions, state, world } = this.#parts;
    const { history, handingOver } = state;
    const { offset } = head;
    const changed =
      lineage === null
        ? renamed(history, { runId, validTo: offset, reason: 'master-changed', at: world.now() })
        : continued(history, { runId, lineage }, offset, world.now());
    const told = hash === head.hash ? {} : { toldHash: { offset, hash } };
    if (runId !== history.runId) this.#store(changed, 'master-changed', { handingOver: false, ...told });
    // The replicas of this node need not ask again because of a longer lineage.
    else if (handingOver || hash !== head.hash || !isSame(history, changed)) {
      state.save({ history: changed, handingOver: false, copySettled: true, ...told });
    }
    if (head.adoptHash(hash)) sessions.drop(CloseCode.historyChanged, 'the history hash has changed');
  }

  /** Stores the history, and makes the replicas ask again, so that they learn the new run ID. */
  #store(
    history: History,
    reason: LineageReason,
    change: { readonly upstream?: null; readonly handingOver?: boolean; readonly toldHash?: HashedOffset },
    except: Session | null = null,
  ): void {
    const { head, log, sessions, state } = this.#parts;
    const before = formatPosition(head.position);
    state.save({ ...change, history, renamedAt: head.offset, copySettled: true });
    const why = reason === 'copied' ? { detail: COPIED } : {};
    log.info('new-run-id', { reason, ...why, before, after: history.runId });
    sessions.drop(CloseCode.historyChanged, 'the history has a new run ID', except);
    this.#parts.renamed();
  }
}

function isSame(one: History, other: History): boolean {
  return JSON.stringify(one) === JSON.stringify(other);
}
