/**
 * Archives the stream of a node while it runs: each piece of the journal goes to the target as a segment, and a base in front of
 * them if there is none.
 *
 * The journal keeps what the target does not have yet, up to `limitBytes`, and less on a nearly full disk. If it has dropped what comes
 * next, the archive begins anew at the head of the stream, with a new base; the archive has a gap then, and says so, and until the
 * base is there all after the gap's begin counts as missing. What the target has is known when it has answered, and nothing counts as missing before. Writes never wait for the target.
 *
 * Owns: how far the archive has come, the times of commits that it does not have yet, and the pin of the journal.
 *
 * Over 350 lines: each step changes the chain that the archive goes on with, so one class owns all of them.
 */
import type { Archive, ArchiveNumbers, ArchiveStatus } from '../node/ports/archived-stream.ts';
import { NotInJournal, StorageError } from '../node/ports/failures.ts';
import { logUnexpected, unattended } from '../node/unattended.ts';
import { type Offset, type Position, ZERO } from '../replication/position.ts';
import { type CommitTimes, sinceRename, timesOf } from './commit-times.ts';
import { areHeld, heldAs } from './looks.ts';
import { parseArchived, timeOfBase } from './names.ts';
import { cleanUp } from './resume.ts';
import { type ArchiverParts, PACE } from './running/archiver-parts.ts';
import { Attempts, BASE_PACE, Pauses, Restarts } from './running/attempts.ts';
import { type Chain, isBaseOf, isFinished, newChain, partOf } from './running/chain.ts';
import { GuardMark } from './running/guard-mark.ts';
import { ObjectCount } from './running/object-count.ts';
import { makePiece } from './running/piece.ts';
import { Restorable } from './running/restorable.ts';
import { resumed } from './running/resumed.ts';
import { StopWait } from './running/stop-wait.ts';

/** Time between two looks whether the history stays, in milliseconds. */
const SETTLE_MS = 200;
/** Times that what comes next is read, and is damaged, before the archive goes on behind it: a disk may have failed for a moment. */
const MAX_DAMAGED_READS = 3;
/** Longest wait for a target that does not let go when the node stops, in milliseconds. */
const CLOSE_MS = 1_000;

export class Archiver implements Archive {
  readonly #parts: ArchiverParts;
  readonly #segmentBytes: number;
  readonly #ageMs: number;
  #times: CommitTimes;
  /** The archive may lack what comes after this offset, while the target has not said what it has. */
  #began: Offset;
  /** The journal need not keep what comes before this offset, because the disk is nearly full and the target has not said what it has. */
  #givenUpTo: Offset = ZERO;
  #chain: Chain;
  /** What the target had of a run ID when it was asked last, as far as hashes prove that the node has the same bytes. */
  #proven: Position | null = null;
  /** The journal is damaged after this offset; null: nobody has noticed that. */
  #damagedAfter: Offset | null = null;
  #lastPut: number | null = null;
  /** When the last byte of the segments was committed at the latest, in milliseconds since 1970; null: unknown. */
  #reachedAt: number | null = null;
  readonly #restorable = new Restorable();
  readonly #segments: Attempts;
  readonly #bases: Attempts;
  readonly #restarts: Restarts;
  readonly #objects: ObjectCount;
  #closed = false;
  /** Ends the present wait of the loop. */
  #wake: () => void = () => undefined;
  #cancelAge: (() => void) | null = null;
  #isDue = false;
  #cancelHeldLook: (() => void) | null = null;
  /** Whether it is time to look if the target has kept what it got. */
  #isHeldDue = false;
  /** Ends the waits after failures. */
  readonly #pauses: Pauses;
  readonly #stopWait: StopWait;
  readonly #guard: GuardMark;
  #cancelLook: (() => void) | null = null;
  readonly #ended: Promise<void>;

  /** Begins. To be called before the node has dropped anything of its journal: in the turn in which it has recovered. */
  constructor(parts: ArchiverParts) {
    const { stream, world } = parts;
    const { shown } = parts.target;
    this.#parts = parts;
    this.#segmentBytes = parts.segmentBytes ?? PACE.segmentBytes;
    this.#ageMs = parts.ageMs ?? PACE.ageMs;
    this.#stopWait = new StopWait(world);
    this.#guard = new GuardMark(parts);
    this.#segments = new Attempts(world, parts.log, { what: 'segments', target: shown });
    this.#pauses = new Pauses(world);
    this.#restarts = new Restarts(world, parts.log);
    this.#objects = new ObjectCount(parts);
    this.#bases = new Attempts(world, parts.log, { what: 'backup', target: shown }, BASE_PACE);
    this.#times = timesOf(stream, world.now());
    this.#began = stream.journalStart ?? stream.offset;
    this.#chain = newChain(stream.history.runId, null);
    stream.attach(this);
    this.#ended = this.#run();
    this.#check();
  }

  get numbers(): ArchiveNumbers {
    const { from, hasBase } = partOf(this.#chain, this.#parts.stream.history);
    const isWhole = hasBase && from !== null && this.#lag === 0;
    return {
      lagBytes: this.#missing,
      isWhole,
      lastSuccess: isWhole ? this.#parts.world.now() : this.#lastPut,
      failures: this.#segments.failures + this.#bases.failures,
      restarts: this.#restarts.count,
      objects: this.#objects.objects,
    };
  }

  get status(): ArchiveStatus {
    const { hasBase } = this.#chain;
    const { end, gap } = this.#restorable;
    const failing = this.#segments.failing ?? this.#bases.failing;
    return { position: end?.position ?? null, at: end?.at ?? null, hasBase, gap, failing };
  }

  get proven(): Offset | null {
    return this.#proven?.runId === this.#parts.stream.history.runId ? this.#proven.offset : null;
  }

  get pinned(): Offset {
    const { limitBytes, stream } = this.#parts;
    return Math.max(this.#chain.from ?? this.#givenUpTo, stream.offset - limitBytes) as Offset;
  }

  replaced(): void {
    const { stream, world } = this.#parts;
    this.#times = timesOf(stream, world.now());
    this.#damagedAfter = null;
    this.#restorable.found(null);
    this.#ask('a full resync has replaced the history', stream.offset);
  }

  async finish(limitMs: number): Promise<void> {
    const { stream } = this.#parts;
    if (this.#closed || isFinished(this.#chain, stream, stream.offset)) return;
    const waiting = this.#stopWait.run(stream.offset, limitMs);
    // What waits after a failure tries once more.
    this.#pauses.end();
    this.#awaken();
    await waiting;
  }

  stopFinishing(): boolean {
    return this.#stopWait.end();
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#stopWait.end();
    this.#chain.abort.abort(new Error('the node stops'));
    this.#cancelAge?.();
    this.#cancelLook?.();
    this.#cancelHeldLook?.();
    this.#wake();
    this.#pauses.end();
    await Promise.race([this.#ended, this.#pauses.wait(CLOSE_MS)]);
    this.#pauses.end();
  }

  /** Bytes of the stream after what can surely be restored. */
  get #missing(): number {
    const { history, offset } = this.#parts.stream;
    const end = this.#restorable.upTo(history);
    if (end !== null) return Math.max(0, offset - end);
    return this.#chain.from === null && !this.#chain.hasLost ? this.#lag : offset;
  }

  /** Bytes of the stream that are in no segment; while the target has not said what it has, those that it may lack. */
  get #lag(): number {
    const { history, offset } = this.#parts.stream;
    return offset - Math.max(0, partOf(this.#chain, history).from ?? this.#began);
  }

  committed(end: Offset): void {
    this.#times.committed(end, this.#parts.world.now());
    this.#check();
  }

  #check(): void {
    const lag = this.#lag;
    if (lag > this.#parts.limitBytes && this.#hasDroppedNext()) {
      this.#begin(
        `the target does not have ${lag} bytes of the stream, which is more than --archive-journal-limit`,
      );
    } else this.#awaken();
  }

  /** Whether the journal has dropped what comes next. It may keep that for longer than the archive needs, as for absent replicas. */
  #hasDroppedNext(): boolean {
    const { stream } = this.#parts;
    const { from } = this.#chain;
    try {
      return from !== null && from < (stream.journalStart ?? stream.offset);
    } catch {
      // A commit ends here whether the journal can be read or not. Who reads it next says that it cannot.
      return false;
    }
  }

  /** Sees to it that the bytes that are not archived get a segment in time, and that the disk is looked at. */
  #awaken(): void {
    if (this.#closed || this.#lag === 0) return;
    const { world } = this.#parts;
    this.#cancelLook ??= world.after(PACE.lookMs, () => this.#lookAtDisk());
    if (this.#lag >= this.#segmentBytes || this.#stopWait.upTo !== null) this.#due();
    else this.#cancelAge ??= world.after(this.#ageMs, () => this.#due());
  }

  #due(): void {
    this.#cancelAge?.();
    this.#cancelAge = null;
    this.#isDue = true;
    this.#wake();
  }

  #lookAtDisk(): void {
    this.#cancelLook = null;
    const looked = this.#parts.stream.missingRoom().then((missing) => {
      // What is about to be a segment takes less room than a new base.
      if (missing <= 0 || this.#lag <= 2 * this.#segmentBytes) return;
      if (this.#chain.from === null) this.#giveUp(missing);
      else this.#begin('the disk is nearly full');
    });
    // A disk that does not say how much room it has ends nothing.
    unattended(
      looked.catch(() => undefined).then(() => this.#awaken()),
      (error) => logUnexpected(this.#parts.log, 'archive', error),
    );
  }

  /** Lets the journal drop so many bytes of its oldest before the target has said what it has: most likely it has these. */
  #giveUp(bytes: number): void {
    const { stream } = this.#parts;
    const { journalStart, offset } = stream;
    const upTo = Math.min((journalStart ?? offset) + bytes, offset - 2 * this.#segmentBytes);
    this.#givenUpTo = Math.max(this.#givenUpTo, upTo) as Offset;
    stream.trim();
  }

  /** Begins a new chain of segments at the head of the stream. */
  #begin(why: string): void {
    const { stream, world } = this.#parts;
    if (this.#closed) return;
    this.#chain.abort.abort(new Error(why));
    this.#chain = newChain(stream.history.runId, stream.offset);
    // Where nothing can be restored yet, nothing is between two parts.
    const isGap = this.#restorable.end !== null && this.#restorable.lacksNext(world.now());
    this.#reachedAt = this.#times.forget(stream.offset);
    stream.trim();
    this.#due();
    const what = isGap
      ? 'the archive has a gap, and gets a new backup'
      : 'the archive still waits for a backup';
    this.#restarts.happened(`${why}; ${what}`, isGap);
  }

  /**
   * Has the target asked how far it has the history: another node may have archived what this one has not.
   * @param lacksAfter the archive may lack what comes after this offset
   */
  #ask(why: string, lacksAfter = this.#chain.from ?? this.#began): void {
    if (this.#closed) return;
    this.#began = lacksAfter;
    this.#chain.abort.abort(new Error(why));
    this.#givenUpTo = ZERO;
    this.#chain = newChain(this.#parts.stream.history.runId, null);
    this.#proven = null;
    this.#wake();
  }

  async #run(): Promise<void> {
    while (!this.#closed) {
      const chain = this.#chain;
      try {
        await this.#step(chain);
        const { upTo } = this.#stopWait;
        if (upTo !== null && isFinished(this.#chain, this.#parts.stream, upTo)) this.#stopWait.end();
      } catch (error) {
        this.#stopWait.end();
        // The abort of a chain that is over is no failure of the target.
        if (chain !== this.#chain || this.#closed) continue;
        if (error instanceof NotInJournal) this.#begin('the journal does not have what comes next');
        else await this.#failed(chain, error);
      }
    }
  }

  /** Waits after a failure. Where the journal stays damaged, the archive goes on behind it, where the target has more, or begins anew. */
  async #failed(chain: Chain, error: unknown): Promise<void> {
    await this.#pauses.wait(this.#segments.failed(error));
    if (chain !== this.#chain || chain.from === null) return;
    if (!(error instanceof StorageError && error.damaged)) return;
    chain.damagedReads += 1;
    if (chain.damagedReads < MAX_DAMAGED_READS) return;
    this.#damagedAfter = chain.from;
    this.#ask('what comes next in the journal is damaged');
  }

  /** Does the next thing that is to be done, or waits until there is one. */
  async #step(chain: Chain): Promise<void> {
    // A replica that has not found its master yet may get another history from it.
    if (!chain.hasBase && !this.#parts.stream.isSettled) {
      await this.#pauses.wait(SETTLE_MS);
      return;
    }
    // First, so that the target has nothing of a time with tokens that can be restored without it.
    if (this.#guard.isDue) {
      await this.#guard.put(chain.abort.signal);
      if (chain !== this.#chain) return;
      this.#segments.succeeded();
    }
    if (chain.from === null) {
      await this.#resume(chain);
      return;
    }
    this.#follow(chain);
    if (chain !== this.#chain) return;
    this.#objects.check({ signal: chain.abort.signal });
    if (!chain.hasBase) this.#startBase(chain);
    if (this.#isHeldDue && chain.hasBase) {
      await this.#lookAtHeld(chain);
      if (chain !== this.#chain) return;
    }
    this.#cancelHeldLook ??= this.#parts.world.after(PACE.heldMs, () => {
      this.#cancelHeldLook = null;
      this.#isHeldDue = true;
      this.#wake();
    });
    if (this.#isDue && this.#lag > 0) return await this.#archive(chain, chain.from);
    await new Promise<void>((resolve) => {
      this.#wake = resolve;
    });
  }

  /** Looks whether the target has kept the base and the last segment. If not, it is asked anew how far it has the history. */
  async #lookAtHeld(chain: Chain): Promise<void> {
    const { backupLength, target } = this.#parts;
    const { last } = chain;
    const call = { signal: chain.abort.signal };
    await this.#guard.look(call.signal);
    const isThere = await areHeld(target, chain, backupLength, call);
    if (chain !== this.#chain) return;
    this.#isHeldDue = false;
    if (isThere || last !== chain.last) {
      this.#lookAtDate(chain);
      return;
    }
    this.#ask('the target does not have any more what was archived');
    this.#chain.hasLost = true;
    this.#restorable.found(null);
  }

  /** A base that was made while the clock was ahead serves no time before it: the archive gets another one. */
  #lookAtDate(chain: Chain): void {
    const { log, world } = this.#parts;
    const { base, basedAt } = chain;
    if (chain.isMakingBase || basedAt === null || basedAt - world.now() <= PACE.heldMs) return;
    log.warn('archive-backup-dated-ahead', { base, time: basedAt });
    this.#startBase(chain);
  }

  /** Asks the target how far it has the history. */
  async #resume(chain: Chain): Promise<void> {
    const { stream, target, world } = this.#parts;
    const { history } = stream;
    await cleanUp(target, world.now(), chain.abort.signal);
    const isWanted = (): boolean => chain === this.#chain && stream.history.runId === history.runId;
    const found = await resumed({
      parts: this.#parts,
      history,
      chain,
      damagedAfter: this.#damagedAfter,
      isWanted,
      answered: () => this.#segments.succeeded(),
      counted: (objects) => this.#objects.listed(objects),
    });
    if (found === null || !isWanted()) return;
    this.#proven = { runId: history.runId, offset: found.proven };
    Object.assign(chain, found.chain);
    const { base, from, hasBase } = found.chain;
    this.#reachedAt = this.#times.forget(from);
    const { runId } = history;
    this.#restorable.found(found.restorable && { runId, offset: found.restorable });
    if (hasBase) this.#reached(base, from);
    if (found.lack !== null) {
      this.#restarts.happened(
        `the archive has ${found.lack}; it gets a new backup, and a gap unless another node fills it`,
        this.#restorable.lacksNext(world.now()),
      );
    }
    this.#parts.log.info('archive-begins', { from, target: target.shown, hasBase });
    stream.trim();
    this.#awaken();
  }

  /**
   * Takes note of a new run ID. If the history shares less with the old one than was archived under that, the rest is archived
   * under the new one again.
   */
  #follow(chain: Chain): void {
    const { stream } = this.#parts;
    const { history, journalStart } = stream;
    if (chain.runId === history.runId) return;
    const { from, hasBase } = partOf(chain, history);
    if (from === null || from < (journalStart ?? stream.offset)) {
      this.#ask('the history has a new run ID, and the journal does not reach back to what it shares');
      return;
    }
    if (chain.hasBase && !hasBase) {
      this.#ask('the history has a new run ID, and shares less with the old one than the backup has');
      this.#chain.hasLost = true;
      this.#restorable.found(null);
      return;
    }
    chain.runId = history.runId;
    chain.from = from as Offset;
    this.#restorable.followed(history);
    this.#awaken();
  }

  /** The target has everything from a base up to an offset. @param base the name of a base that was not known before; null: it was */
  #reached(base: string | null, upTo: Offset | null): void {
    const { history } = this.#parts.stream;
    const found = base === null ? null : parseArchived(base);
    if (found?.kind === 'base') {
      const { offset, runId } = found;
      this.#restorable.based({ runId, offset });
      this.#restorable.reached({ runId, offset }, this.#times.at(offset), history);
    }
    const { runId } = this.#chain;
    if (upTo !== null) this.#restorable.reached({ runId, offset: upTo }, this.#reachedAt, history);
  }

  async #archive(chain: Chain, from: Offset): Promise<void> {
    const { cluster, compresses, log, stream, target, world } = this.#parts;
    const isWanted = (): boolean =>
      chain === this.#chain && !this.#closed && stream.history.runId === chain.runId;
    const piece = await makePiece(
      {
        stream,
        cluster,
        segmentBytes: this.#segmentBytes,
        compresses,
        marks: (after, end) => sinceRename(this.#times.between(after, end), { after, end }, stream),
        isWanted,
      },
      from,
    );
    if (piece === null) return;
    const { signal } = chain.abort;
    const held = await heldAs(target, piece, { signal });
    if (chain !== this.#chain) return;
    if (held === 'other') {
      // A clone of the machine, for example. What it has put stays, and who has these bytes goes on under another run ID.
      this.#ask('the target has other bytes under this run ID');
      return;
    }
    // Another node may have archived the same bytes: the times are those of the first one.
    if (held === 'nothing') await target.put(piece.name, { bytes: piece.bytes }, { signal });
    this.#objects.added();
    if (chain !== this.#chain) return;
    this.#segments.succeeded();
    chain.from = piece.end;
    chain.last = piece.segment;
    chain.damagedReads = 0;
    this.#reachedAt = this.#times.forget(piece.end);
    if (chain.hasBase) {
      this.#lastPut = world.now();
      this.#reached(null, piece.end);
    }
    stream.trim();
    log.debug('archived', { segment: piece.name, bytes: piece.bytes.length });
    this.#isDue = this.#lag >= this.#segmentBytes;
    this.#awaken();
  }

  /** Makes a base beside the segments, because that takes long. */
  #startBase(chain: Chain): void {
    if (chain.isMakingBase) return;
    chain.isMakingBase = true;
    unattended(
      this.#makeBase(chain).finally(() => {
        chain.isMakingBase = false;
        this.#wake();
      }),
      (error) => logUnexpected(this.#parts.log, 'archive', error),
    );
  }

  async #makeBase(chain: Chain): Promise<void> {
    const { makeBase, stream, world } = this.#parts;
    try {
      const from = { runId: stream.history.runId, offset: stream.offset };
      const name = await makeBase(from, chain.abort.signal);
      this.#objects.added();
      // A new run ID may share less than the base has: it gets another one.
      if (chain !== this.#chain || !isBaseOf(name, stream.history)) return;
      chain.base = name;
      chain.basedAt = timeOfBase(name);
      this.#bases.succeeded();
      chain.hasBase = true;
      this.#reached(name, chain.from);
      this.#lastPut = world.now();
      // No segment is due that would show that the target takes them again.
      if (this.#lag === 0) this.#segments.succeeded();
    } catch (error) {
      if (chain === this.#chain && !this.#closed) await this.#pauses.wait(this.#bases.failed(error));
    }
  }
}
