/** One snapshot for one replica: the wait for a frozen file, the bytes, and the watch over what they hold on the disk. */
import type { CloseCode } from '../../replication/close-code.ts';
import type { StreamHead } from '../head/stream-head.ts';
import { Hold } from '../hold.ts';
import { TakenWatch } from '../liveness.ts';
import type { FrozenFile, StreamSocket, World } from '../ports.ts';
import type { OutputLimits } from './session-context.ts';
import type { SessionOutput } from './session-output.ts';
import { SnapshotSender } from './snapshot-sender.ts';
import type { Snapshot, Snapshots } from './snapshots.ts';

interface TransferParts {
  readonly world: World;
  readonly head: StreamHead;
  readonly settings: OutputLimits;
  readonly snapshots: Snapshots;
  readonly socket: StreamSocket;
  readonly output: SessionOutput;
  /** Whether the replica wants the checksum of the bytes behind them. */
  readonly checksummed: boolean;
  /** The snapshot is there, and its bytes follow. */
  begun(file: FrozenFile): void;
  /** The socket was given the whole snapshot. Until this returns, the snapshot keeps the journal that follows it. */
  sent(file: FrozenFile): void;
  /** Ends the session, because its snapshot holds too much on the disk, or others wait for it. */
  end(code: CloseCode, detail: string): void;
}

export class SnapshotTransfer {
  readonly #parts: TransferParts;
  readonly #taken: TakenWatch;
  #sender: SnapshotSender | null = null;
  #length = 0;
  #stopped = false;

  constructor(parts: TransferParts) {
    this.#parts = parts;
    this.#taken = new TakenWatch(parts.world);
  }

  /** Bytes that the socket was given, of all; null: there is no snapshot yet. */
  get progress(): { readonly sent: number; readonly total: number } | null {
    return this.#sender === null ? null : { sent: this.#sender.given, total: this.#length };
  }

  /**
   * Milliseconds for which the replica has taken nothing of the snapshot. Such a snapshot keeps others from theirs, and the
   * journal from being trimmed.
   */
  stuckMs(): number {
    if (this.#sender === null) return 0;
    return this.#taken.stuckMs(this.#sender.given, this.#parts.socket.bufferedBytes);
  }

  /** Sends nothing more, because the session has ended. */
  stop(): void {
    this.#stopped = true;
    this.#sender?.stop();
  }

  /** Sends a snapshot. @throws Error when there is none, or the disk does not give it */
  async run(): Promise<void> {
    const { begun, checksummed, output, sent, snapshots } = this.#parts;
    const snapshot = await snapshots.acquire();
    const { file } = snapshot;
    try {
      if (this.#stopped) return;
      this.#length = file.length;
      begun(file);
      output.line(`$${file.length}${checksummed ? ' crc32' : ''}`);
      this.#sender = new SnapshotSender(file, (bytes, taken) => output.give(bytes, taken));
      const crc32 = await this.#send(snapshot, this.#sender);
      if (this.#isStopped()) return;
      if (checksummed) output.line(`$crc32 ${crc32.toString(16).padStart(8, '0')}`);
      // The session goes online before it releases the snapshot: one of the two pins the journal at every moment.
      sent(file);
    } finally {
      snapshot.release();
    }
  }

  async #send(snapshot: Snapshot, sender: SnapshotSender): Promise<number> {
    const hold = this.#limitHold(snapshot, sender);
    try {
      return await sender.send();
    } finally {
      hold.stop();
    }
  }

  /** Watches over the bytes that stay on the disk because of the snapshot. */
  #limitHold({ file }: Snapshot, sender: SnapshotSender): Hold {
    const { end, head, settings, snapshots, socket, world } = this.#parts;
    const neverBelowBacklog = (bytes: number): number => Math.max(bytes, head.backlog.size);
    return new Hold({
      world,
      held: () => head.offset - file.position.offset + file.heldBytes(),
      taken: () => sender.given - socket.bufferedBytes,
      limits: {
        hard: () => neverBelowBacklog(settings.outputLimitBytes),
        soft: () => ({ bytes: neverBelowBacklog(settings.outputSoftBytes), ms: settings.outputSoftMs }),
      },
      othersWait: () => snapshots.awaited,
      end,
    });
  }

  /** Reads the field by a function, because TypeScript does not know that it changes during an `await`. */
  #isStopped(): boolean {
    return this.#stopped;
  }
}
