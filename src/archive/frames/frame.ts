/** The part of a segment that has the bytes of the stream: one frame of zstd, in pieces. */
export interface Frame {
  /** Takes the next bytes; the caller must not change them afterwards. */
  push(bytes: Buffer): Promise<void>;
  /** Ends the frame. @returns all of its bytes, in order */
  finish(): Promise<readonly Buffer[]>;
  /** Gives the memory back, if the frame is not finished. */
  close(): void;
}
