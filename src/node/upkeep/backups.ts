/**
 * Backups by a schedule, into a target outside of the data folder.
 *
 * Owns: when the next backup begins, and what became of the last ones. One is made at a time. None is made when the target has one of
 * the present position, or a young one of this history: several nodes may have one target, and a node may start often. A failure
 * is logged once, counted, and followed by another try after a growing pause; writes never wait for a backup.
 */
import { standing } from '../../replication/history.ts';
import { msSince } from '../elapsed.ts';
import type { ArchiveNeedsOf } from '../ports/archive-needs.ts';
import { LEFTOVER_MS, TargetError } from '../ports/backup-target.ts';
import { inLogOf } from '../ports/failures.ts';
import type { Log } from '../ports/world.ts';
import { Problem } from '../problem.ts';
import { logUnexpected, unattended } from '../unattended.ts';
import { BackupClock } from './backup-clock.ts';
import type { KeepRule } from './backup-keep.ts';
import { clusterFolder, historyFolder, type NamedBackup, namedBackup } from './backup-names.ts';
import { backupsIn, horizonOf, prune } from './backup-prune.ts';
import { type BackupParts, Calls, makeBackup } from './backup-run.ts';
import { BackupFailures, type BackupObstacle, type BackupStatus, codeOf, LastMade } from './backup-status.ts';
import { BackupWait } from './backup-wait.ts';
import { newestBackup } from './newest-backup.ts';

/** Longest time between two looks at the clocks, in milliseconds: a machine that slept is late by so much at most. */
const LOOK_MS = 60_000;
/** Longest time from the start to the first look at the target, in milliseconds. */
const AFTER_START_MS = 10_000;
/** Most of the time that chance adds to the interval, in milliseconds, and the part of the interval that it may be. */
const MAX_JITTER_MS = 5 * 60_000;
const JITTER_SHARE = 0.1;
/** Part of the interval for which a backup in the target counts as young. */
const YOUNG_SHARE = 0.9;
/** Pause after the first failure, which doubles, and the longest, in milliseconds. */
const AGAIN_MS = 5_000;
const MAX_AGAIN_MS = 15 * 60_000;
/** Time after which a backup is given up, in milliseconds. */
const RUN_LIMIT_MS = 12 * 3_600_000;
/** Time between two looks for what killed uploads have left, in milliseconds. */
const DAY_MS = 24 * 3_600_000;
/** Histories whose old backups are deleted: the present one and the last ancestors. */
const MAX_HISTORIES = 8;
/** Longest time for which segments of the archive are deleted after one backup, in milliseconds, and the part of the interval that it may be. */
const MAX_DELETING_MS = 15 * 60_000;
const DELETING_SHARE = 0.5;
/** Codes of failures because the target or the disk of the node is full. */
const NO_ROOM: ReadonlySet<string> = new Set(['TARGET_FULL', 'DISK_FULL']);

/** What a user wants of the schedule. */
export interface BackupPlan extends Pick<BackupParts, 'target' | 'files' | 'cluster'> {
  readonly everyMs: number;
  /** null: nothing is deleted. */
  readonly keep: readonly KeepRule[] | null;
  /** Tells what an archive in the target needs. */
  readonly archiveNeeds: ArchiveNeedsOf;
  /** The role in which the node makes backups. */
  readonly role: 'master' | 'replica' | 'any';
}

interface ScheduleParts extends Pick<BackupParts, 'world' | 'head' | 'copies'> {
  readonly log: Log;
  readonly plan: BackupPlan;
  /** The role of the node, and whether what it has is the present state: a replica without its master may be old. */
  standing(): { readonly role: 'master' | 'replica'; readonly isCurrent: boolean };
}

/** How a look at the target ended: `waits`: something prevents backups now. `nextMs`: until the next one. */
type Outcome = 'done' | 'waits' | { readonly nextMs: number };

export class Backups {
  readonly #parts: ScheduleParts;
  readonly #gone = new AbortController();
  #cancel: (() => void) | null = null;
  /** On the two clocks. */
  #due = { monotonic: 0, wall: 0 };
  readonly #calls = new Calls();
  #run: Promise<void> | null = null;
  #lastSuccessAt: number | null = null;
  readonly #lastMade = new LastMade();
  readonly #failures: BackupFailures;
  /** Name of what was last told not to count. */
  #told: string | null = null;
  readonly #clock: BackupClock;
  readonly #wait: BackupWait;
  /** On the monotonic clock; null: never. */
  #cleanedAt: number | null = null;

  constructor(parts: ScheduleParts) {
    this.#parts = parts;
    const { log, world } = parts;
    const { everyMs, keep, target } = parts.plan;
    this.#clock = new BackupClock(world, everyMs, keep && -horizonOf(keep, 0));
    this.#wait = new BackupWait({ world, log, target: target.shown, everyMs });
    this.#failures = new BackupFailures({ world, log, target: target.shown });
  }

  get status(): BackupStatus {
    return {
      running: this.#run !== null,
      waitsFor: this.#obstacle,
      lastSuccessAt: this.#lastSuccessAt,
      ...this.#lastMade.status,
      failures: this.#failures.total,
      failing: this.#failures.failing,
    };
  }

  /** Whether the node has the role in which it makes backups. */
  get isOn(): boolean {
    const { plan, standing } = this.#parts;
    return plan.role === 'any' || plan.role === standing().role;
  }

  get #obstacle(): BackupObstacle | null {
    if (!this.isOn) return 'role';
    return this.#parts.standing().isCurrent ? null : 'master';
  }

  start(): void {
    const { plan, world } = this.#parts;
    this.#schedule(Math.min(plan.everyMs, AFTER_START_MS) * world.random());
  }

  /** Ends a backup that is being made, and begins no further one. */
  stop(): void {
    this.#gone.abort(new Problem('SHUTTING_DOWN', 'the node is shutting down'));
    this.#cancel?.();
  }

  /** Resolves after `stop` when no file is written any more. */
  async ended(): Promise<void> {
    await this.#run;
  }

  #schedule(delayMs: number): void {
    const { world } = this.#parts;
    this.#due = { monotonic: world.monotonic() + delayMs, wall: world.now() + delayMs };
    this.#lookLater();
  }

  #lookLater(): void {
    this.#cancel?.();
    if (this.#gone.signal.aborted) return;
    const { world } = this.#parts;
    const leftMs = this.#due.monotonic - world.monotonic();
    this.#cancel = world.after(Math.min(LOOK_MS, Math.max(0, leftMs)), () => this.#look());
  }

  /** The monotonic clock may stand while the machine sleeps; the wall clock may be set back. Whichever is first counts. */
  #look(): void {
    const { log, world } = this.#parts;
    if (world.monotonic() < this.#due.monotonic && world.now() < this.#due.wall) {
      this.#lookLater();
      return;
    }
    const run = this.#once().finally(() => {
      this.#run = null;
    });
    this.#run = run;
    unattended(run, (error) => logUnexpected(log, 'backups', error));
  }

  async #once(): Promise<void> {
    const { plan, world } = this.#parts;
    this.#clock.look();
    const limit = new AbortController();
    const cancel = world.after(RUN_LIMIT_MS, () =>
      limit.abort(
        new TargetError('TARGET_UNREACHABLE', `${plan.target.shown} has not taken a backup in time`),
      ),
    );
    const signal = AbortSignal.any([this.#gone.signal, limit.signal]);
    try {
      const outcome = await this.#backUp(signal);
      if (outcome === 'waits') {
        this.#schedule(Math.min(plan.everyMs, AGAIN_MS));
        return;
      }
      this.#failures.succeeded();
      await this.#tidy(signal);
      this.#schedule(typeof outcome === 'object' ? outcome.nextMs : this.#intervalMs());
    } catch (error) {
      // What the rules no longer keep may take the room that the next try needs.
      if (NO_ROOM.has(codeOf(error))) await this.#tidy(signal, true);
      if (!this.#gone.signal.aborted) this.#failed(error);
    } finally {
      cancel();
    }
  }

  #intervalMs(): number {
    const { plan, world } = this.#parts;
    return plan.everyMs + world.random() * Math.min(plan.everyMs * JITTER_SHARE, MAX_JITTER_MS);
  }

  async #backUp(signal: AbortSignal): Promise<Outcome> {
    const { head, log, plan, world } = this.#parts;
    const obstacle = this.#obstacle;
    if (obstacle !== null) {
      this.#wait.goesOn(obstacle);
      return 'waits';
    }
    this.#wait.end();
    // Each call that hangs may hold a thread that the files of the node need too.
    if (this.#calls.abandoned > 0) {
      throw new TargetError('TARGET_UNREACHABLE', `${plan.target.shown}: an earlier call still hangs`);
    }
    const newest = await this.#calls.wait(this.#newest(signal), signal);
    if (newest !== null && newest.position.offset >= head.offset) {
      this.#lastSuccessAt = world.now();
      return 'done';
    }
    const ageMs = newest === null ? Number.POSITIVE_INFINITY : world.now() - newest.time;
    if (newest !== null && this.#isYoung(ageMs)) {
      this.#lastSuccessAt = newest.time;
      return { nextMs: this.#intervalMs() - ageMs };
    }
    const startedAt = world.monotonic();
    const { copies } = this.#parts;
    const made = await makeBackup({ ...plan, world, head, copies, calls: this.#calls }, signal);
    const durationMs = msSince(world, startedAt);
    this.#lastSuccessAt = world.now();
    this.#lastMade.took(made, durationMs);
    log.info('backup-made', {
      name: made.name,
      target: plan.target.shown,
      bytes: made.length,
      keys: made.keys,
      durationMs,
    });
    return 'done';
  }

  /** @returns the backup of the present history with the largest offset; null: there is none */
  async #newest(signal: AbortSignal): Promise<NamedBackup | null> {
    const { head, log, plan, world } = this.#parts;
    const { backup, strange } = await newestBackup(
      {
        target: plan.target,
        folder: historyFolder(plan.cluster, head.history.runId),
        counts: (each) => this.#counts(each),
        backupLength: plan.files.lengthIn,
      },
      { signal },
    );
    if (strange !== null && strange.name !== this.#told) {
      this.#told = strange.name;
      log.warn('backup-not-counted', { target: plan.target.shown, name: strange.name, offset: head.offset });
    }
    const { offset } = head;
    const gone = this.#lastMade.look(backup, { runId: head.history.runId, offset }, world.now());
    if (gone !== null) log.warn('backup-gone', { target: plan.target.shown, name: gone });
    return backup;
  }

  /** Nothing is past a master. What is past a replica may be of its master. */
  #counts({ position, time }: NamedBackup): boolean {
    const { head, standing: standingNow, world } = this.#parts;
    if (position.offset <= head.offset) return true;
    return standingNow().role === 'replica' && this.#isYoung(world.now() - time);
  }

  #isYoung(ageMs: number): boolean {
    return ageMs >= 0 && ageMs < this.#parts.plan.everyMs * YOUNG_SHARE;
  }

  /** Deletes old backups, and once a day what was left of uploads. A failure of that is none of the backup. @param hasFailed as of `#prune` */
  async #tidy(signal: AbortSignal, hasFailed = false): Promise<void> {
    const { log, plan, world } = this.#parts;
    try {
      if (plan.keep !== null) await this.#calls.wait(this.#prune(plan.keep, signal, hasFailed), signal);
      const now = world.monotonic();
      if (this.#cleanedAt !== null && now - this.#cleanedAt < DAY_MS) return;
      this.#cleanedAt = now;
      const isOurs = (name: string): boolean => namedBackup({ name, size: 0, modified: 0 }) !== null;
      const cleaned = plan.target.clean(world.now() - LEFTOVER_MS, isOurs, { signal });
      await this.#calls.wait(cleaned, signal);
    } catch (error) {
      if (this.#gone.signal.aborted) return;
      log.warn('backup-prune-failed', { target: plan.target.shown, error: inLogOf(error) });
    }
  }

  /** @param hasFailed whether the backup failed: then nothing is deleted unless the target has a young one */
  async #prune(rules: readonly KeepRule[], signal: AbortSignal, hasFailed: boolean): Promise<void> {
    const { head, log, plan, world } = this.#parts;
    const { target, files, cluster } = plan;
    const { runId, lineage } = head.history;
    const found: NamedBackup[] = [];
    for (const each of [runId, ...lineage.map((ancestor) => ancestor.runId)].slice(0, MAX_HISTORIES)) {
      found.push(...(await backupsIn(target, historyFolder(cluster, each), { signal })));
    }
    // The others are of other nodes, or of a state that was left for a reason: nobody else may have what is in them.
    const backups = found.filter((backup) => this.#isOwn(backup));
    if (!this.#clock.isTrusted(backups) || (hasFailed && !this.#clock.isRecent(backups))) return;
    const now = world.now();
    const common = { target, backupLength: files.lengthIn, call: { signal } };
    const folder = clusterFolder(cluster);
    const horizon = horizonOf(rules, now);
    const archive = await plan.archiveNeeds({ ...common, folder, horizon, own: head.history });
    if (archive.isNearlyTooMuch) log.warn('archive-nearly-too-large', { target: target.shown });
    const until = world.monotonic() + Math.min(MAX_DELETING_MS, plan.everyMs * DELETING_SHARE);
    const { deleted, segments } = await prune({
      ...common,
      backups,
      rules,
      now,
      isDry: false,
      archive,
      mostSegments: Number.POSITIVE_INFINITY,
      mayDelete: (position) => world.monotonic() < until && this.#isOwn({ position }),
    });
    if (deleted.length > 0) log.info('backups-deleted', { names: deleted.map(({ name }) => name) });
    if (segments > 0) log.info('segments-deleted', { segments });
  }

  /** Whether it is of a state that this node has gone through. */
  #isOwn({ position }: Pick<NamedBackup, 'position'>): boolean {
    const { history, offset } = this.#parts.head;
    return position.offset <= offset && standing(history, position) === 'shared';
  }

  #failed(error: unknown): void {
    const { plan, world } = this.#parts;
    const againMs = this.#failures.failed(error, (inRow) => {
      const most = Math.min(AGAIN_MS * 2 ** (inRow - 1), MAX_AGAIN_MS, plan.everyMs);
      return Math.round(most * (0.75 + world.random() / 2));
    });
    this.#schedule(againMs);
  }
}
