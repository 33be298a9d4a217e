/** An archive in a target in memory, for tests of what is deleted of it. */
import { Catalogue } from '../../src/archive/catalogue.ts';
import type { Mark } from '../../src/archive/commit-times.ts';
import { Coverage, type ListedSegment } from '../../src/archive/coverage.ts';
import type { HistoryOfBase } from '../../src/archive/first-told.ts';
import { parseArchived, type SegmentName, segmentName } from '../../src/archive/names.ts';
import type { Hasher, Replayed } from '../../src/archive/restoring/replay.ts';
import { archiveNeeds } from '../../src/archive/retention/archive-needs.ts';
import { SegmentWriter } from '../../src/archive/segment.ts';
import { type BackupTarget, TargetError, type TargetObject } from '../../src/node/ports/backup-target.ts';
import type { KeepRule } from '../../src/node/upkeep/backup-keep.ts';
import { scheduledName } from '../../src/node/upkeep/backup-names.ts';
import { backupsIn, horizonOf, type Pruned, prune } from '../../src/node/upkeep/backup-prune.ts';
import { type History, standing } from '../../src/replication/history.ts';
import { offset, type RunId } from '../../src/replication/position.ts';

/** When the test's archive begins, in milliseconds since 1970. */
export const BEGIN = Date.UTC(2026, 10, 1);
const BACKUP = Buffer.alloc(4_096, 'b');
/** Tells the history of no backup. */
export const NO_BASE: HistoryOfBase = () => Promise.reject(new Error('a backup was asked'));

/** Takes bytes of a stream in which each byte is a command. */
export class Counter implements Replayed, Hasher {
  offset: number;
  readonly hash = null;

  constructor(at: number) {
    this.offset = at;
  }

  adoptHash(): void {}

  hasher(at: number): Hasher {
    return new Counter(at);
  }

  async push({ length }: Buffer): Promise<void> {
    this.offset += length;
  }
}

interface MemoryObject {
  readonly modified: number;
  /** null: a segment that is made when somebody asks for it. */
  readonly bytes: Buffer | null;
  readonly marks: readonly Mark[];
}

/** @returns a segment of a history with zeros as bytes of the stream */
export async function madeSegment(
  { after, end }: SegmentName,
  history: History,
  marks: readonly Mark[] = [],
): Promise<Buffer> {
  const writer = new SegmentWriter(false);
  await writer.push(Buffer.alloc(end - after));
  const hashes = { hashBefore: null, hashAfter: null, beginsChain: false };
  return await writer.finish({ ...history, after, end, ...hashes, marks });
}

/** A target in memory. Segments have a true header, and zeros as bytes of the stream. */
export class MemoryTarget implements Partial<BackupTarget> {
  readonly shown = 'the target';
  readonly objects = new Map<string, MemoryObject>();
  readonly histories = new Map<RunId, History>();
  /** What the clock of the target says, in milliseconds since 1970. */
  now = BEGIN;

  async *list(folder: string): AsyncGenerator<TargetObject> {
    for (const [name, { modified }] of [...this.objects]) {
      if (folder !== '' && !name.startsWith(`${folder}/`)) continue;
      yield { name, modified, size: (await this.#bytes(name)).length };
    }
  }

  async begin(name: string, length: number): Promise<Uint8Array> {
    return (await this.#bytes(name)).subarray(0, length);
  }

  async delete(name: string): Promise<void> {
    this.objects.delete(name);
  }

  /** What a restore reads, without files. */
  async catalogue(): Promise<Catalogue> {
    const { signal } = new AbortController();
    const catalogue = await Catalogue.read(this as unknown as BackupTarget, null, '', signal, NO_BASE);
    const use: Catalogue['use'] = async ({ name, runId, after, end }, taken) => {
      const { marks = [] } = this.objects.get(name) ?? {};
      const { lineage } = this.histories.get(runId) as History;
      const hashes = { hashBefore: null, hashAfter: null, beginsChain: false };
      const header = { runId, lineage, after, end, ...hashes, marks, sha256: '', frameBytes: null };
      const bytes = async function* (): AsyncGenerator<Buffer> {
        yield Buffer.alloc(end - after);
      };
      return await taken({ header, bytes });
    };
    return Object.assign(catalogue, { use });
  }

  /** @returns the object, with its bytes */
  async taken(name: string): Promise<MemoryObject | undefined> {
    await this.#bytes(name);
    return this.objects.get(name);
  }

  async #bytes(name: string): Promise<Buffer> {
    const found = this.objects.get(name);
    if (found === undefined) throw new TargetError('NOT_FOUND', name);
    const parsed = parseArchived(name);
    if (parsed?.kind !== 'segment' || found.bytes !== null) return found.bytes ?? BACKUP;
    const bytes = await madeSegment(parsed, this.histories.get(parsed.runId) as History, found.marks);
    this.objects.set(name, { ...found, bytes });
    return bytes;
  }

  base(run: RunId, at: number, time = this.now, bytes = BACKUP): string {
    const name = scheduledName('shop', { runId: run, offset: offset(at) }, time);
    this.objects.set(name, { modified: this.now, bytes, marks: [] });
    return name;
  }

  segment(
    run: RunId,
    after: number,
    end: number,
    bytes: Buffer | null = null,
    marks: readonly Mark[] = [],
  ): string {
    const name = segmentName('shop', run, offset(after), offset(end));
    this.objects.set(name, { modified: this.now, bytes, marks });
    return name;
  }

  /** What an archive has of a history, as a restore sees it. */
  coverage(history: History): Coverage {
    const segments: ListedSegment[] = [];
    const bases = [];
    for (const [name, { modified }] of this.objects) {
      const found = parseArchived(name);
      if (found?.kind === 'segment') segments.push({ ...found, modified });
      else if (found !== null) bases.push(found);
    }
    return new Coverage(history, segments, bases);
  }

  /**
   * @param own the history of the node that does it; null: a command does
   * @param most segments that are deleted
   * @param now what the clock of the one who does it says
   */
  async prune(
    rules: readonly KeepRule[],
    own: History | null = null,
    most = 1_000,
    now = this.now,
  ): Promise<Pruned> {
    const target = this as unknown as BackupTarget;
    const backupLength = (begin: Uint8Array): number | null =>
      begin[0] === BACKUP[0] ? BACKUP.length : null;
    const horizon = horizonOf(rules, now);
    const mine =
      own === null ? () => true : (at: Parameters<typeof standing>[1]) => standing(own, at) === 'shared';
    const backups = (await backupsIn(target, 'shop')).filter(({ position }) => mine(position));
    const archive = await archiveNeeds({ target, folder: 'shop', horizon, own, backupLength, call: {} });
    const limits = { archive, mostSegments: most, mayDelete: mine };
    return prune({ target, backups, rules, now, isDry: false, backupLength, ...limits });
  }
}
