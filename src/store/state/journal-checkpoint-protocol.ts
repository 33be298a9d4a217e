/** What the main thread and the thread of the journal's checkpoints tell each other: any message asks for one. */
export interface CheckpointData {
  /** Of psyncd.db. */
  readonly path: string;
  /** Open as long as the main thread has psyncd.db open. */
  readonly gate: Int32Array<SharedArrayBuffer>;
}

export interface CheckpointResult {
  /** null: it was made. */
  readonly failure: string | null;
}
