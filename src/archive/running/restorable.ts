/** Up to where the stream can surely be restored from the target, and the last gap of the archive. */
import type { ArchiveGap } from '../../node/ports/archived-stream.ts';
import type { History } from '../../replication/history.ts';
import type { Offset, Position } from '../../replication/position.ts';

/** A position up to which an archive can be restored. */
export interface RestorableEnd {
  readonly position: Position;
  /** When the last byte there was committed at the latest, in milliseconds since 1970; null: unknown. */
  readonly at: number | null;
}

export class Restorable {
  #end: RestorableEnd | null = null;
  #gap: ArchiveGap | null = null;

  /** null: nothing is known that can be restored. */
  get end(): RestorableEnd | null {
    return this.#end;
  }

  /** The last gap since the start; null: there was none. */
  get gap(): ArchiveGap | null {
    return this.#gap;
  }

  /** @returns the offset of a history up to which it can be restored; null: nothing is known */
  upTo(history: History): number | null {
    return this.#end === null ? null : sharedOf(this.#end.position, history);
  }

  /** Takes note of what the target has, as it says itself. @param position null: nothing of the history */
  found(position: Position | null): void {
    const { position: before, at } = this.#end ?? { position: null, at: null };
    const isSame = position?.runId === before?.runId && position?.offset === before?.offset;
    this.#end = position && { position, at: isSame ? at : null };
  }

  /** The target has everything from a base up to here. What a history has more of it already is not taken back. */
  reached(position: Position, at: number | null, history: History): void {
    if ((this.upTo(history) ?? -1) < sharedOf(position, history)) this.#end = { position, at };
  }

  /** What a history does not share with the one of before is not of it. */
  followed(history: History): void {
    if (this.#end === null) return;
    const { at, position } = this.#end;
    this.#end = { position: { runId: history.runId, offset: sharedOf(position, history) }, at };
  }

  /** What comes next is lost to the archive until it has a new base. @returns false: that was known before, and the gap only grows */
  lacksNext(now: number): boolean {
    if (this.#gap !== null && this.#gap.to === null) return false;
    this.#gap = { after: this.#end?.position ?? null, to: null, at: now };
    return true;
  }

  /** The archive goes on from this base, so a gap ends there; if the base is before what was lacking, there is no gap. */
  based(base: Position): void {
    if (this.#gap === null || this.#gap.to !== null) return;
    const isBefore = this.#gap.after !== null && base.offset <= this.#gap.after.offset;
    this.#gap = isBefore ? null : { ...this.#gap, to: base };
  }
}

/** @returns up to where a history shares the bytes before a position */
function sharedOf({ runId, offset }: Position, history: History): Offset {
  if (runId === history.runId) return offset;
  const shared = history.lineage.find((ancestor) => ancestor.runId === runId)?.validTo ?? 0;
  return Math.min(offset, shared) as Offset;
}
