/**
 * Messages between the main thread and the thread of the journal's checkpoints: any message asks for one checkpoint.
 */
export interface CheckpointData {
  /** Path of psyncd.db. */
  readonly path: string;
  /** The gate stays open as long as the main thread has psyncd.db open. */
  readonly gate: Int32Array<SharedArrayBuffer>;
}

export interface CheckpointResult {
  /** Error of the checkpoint; null: it succeeded. */
  readonly failure: string | null;
}
