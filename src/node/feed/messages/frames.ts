/** Messages, framed for a transport and joined into pieces that all sockets share. */
import type { Framing, Message } from './message.ts';

/** Largest size of a piece that joins several frames, in bytes; one system call sends it. */
const PIECE_BYTES = 64 * 1024;

export class Frames {
  readonly messages: readonly Message[];
  readonly #pieces = new Map<Framing, readonly Buffer[]>();

  constructor(messages: readonly Message[]) {
    this.messages = messages;
  }

  /** Bytes of the messages in one framing, by estimate. */
  get size(): number {
    return this.messages.reduce((sum, { json }) => sum + json.length, 0);
  }

  /** @returns all messages, in order; every caller gets the same buffers */
  pieces(framing: Framing): readonly Buffer[] {
    let pieces = this.#pieces.get(framing);
    if (pieces === undefined) {
      pieces = joined(this.messages.map((message) => message.framed(framing)));
      this.#pieces.set(framing, pieces);
    }
    return pieces;
  }
}

function joined(frames: readonly Buffer[]): readonly Buffer[] {
  if (frames.length <= 1) return frames;
  const pieces: Buffer[] = [];
  let open: Buffer[] = [];
  let openBytes = 0;
  const finish = (): void => {
    if (open.length > 0)
      pieces.push(open.length === 1 ? (open[0] as Buffer) : Buffer.concat(open, openBytes));
    open = [];
    openBytes = 0;
  };
  for (const frame of frames) {
    if (openBytes + frame.length > PIECE_BYTES) finish();
    open.push(frame);
    openBytes += frame.length;
  }
  finish();
  return pieces;
}
