/** What the journal counts since the start of the process, for `/v1/info` and `/metrics`. */
import { Durations, SHORT_RANGES } from '../../../node/ports/counts.ts';
import { StorageError } from '../../../node/ports/failures.ts';

export class JournalNumbers {
  /** How long the fsyncs took: with `everysec` each one, with `always` each commit, which contains one. With `no` those that writes ask for. */
  readonly syncs = new Durations(SHORT_RANGES);
  readonly #syncsInCommits: boolean;
  #commits = 0;
  #isFull = false;

  /** @param syncsInCommits whether each commit contains an fsync */
  constructor(syncsInCommits: boolean) {
    this.#syncsInCommits = syncsInCommits;
  }

  /** Rows that were committed. */
  get commits(): number {
    return this.#commits;
  }

  /** Whether the last commit failed because the disk was full. */
  get isFull(): boolean {
    return this.#isFull;
  }

  /** Runs and counts one commit. @throws what it throws */
  commit(run: () => void): void {
    const begunAt = this.#syncsInCommits ? performance.now() : 0;
    try {
      run();
    } catch (error) {
      this.#isFull = error instanceof StorageError && error.full;
      throw error;
    }
    this.#isFull = false;
    this.#commits += 1;
    if (this.#syncsInCommits) this.syncs.add((performance.now() - begunAt) / 1_000);
  }
}
