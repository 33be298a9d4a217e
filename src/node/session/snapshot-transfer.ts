/** Sends one snapshot to one replica: waits for a frozen file, sends its bytes, and limits the disk space that they hold. */
import type { CloseCode } from '../../replication/close-code.ts';
import type { PartialSnapshot } from '../../replication/snapshot-terms.ts';
import type { Hold } from '../hold.ts';
import { TakenWatch } from '../liveness.ts';
import type { FrozenFile } from '../ports/keyspace.ts';
import type { StreamSocket } from '../ports/stream-socket.ts';
import type { World } from '../ports/world.ts';
import type { SessionOutput } from './session-output.ts';
import { SnapshotSender } from './snapshot-sender.ts';
import type { LeftSnapshot, Snapshot, Snapshots } from './snapshots.ts';

interface TransferParts {
  readonly world: World;
  readonly snapshots: Snapshots;
  readonly socket: StreamSocket;
  readonly output: SessionOutput;
  /** Whether the replica wants the CRC-32 of the snapshot after the last byte of it. */
  readonly checksummed: boolean;
  /** Whether the replica asks for the rest of a checksummed snapshot if its connection breaks. */
  readonly resumable: boolean;
  /** The part of a snapshot that the replica has; null: none. */
  readonly partial: PartialSnapshot | null;
  /**
   * Called when the snapshot is ready, before its first byte is sent.
   * @param from number of the first bytes of the file that the replica has
   */
  begun(file: FrozenFile, from: number): void;
  /** Called when the socket was given the whole snapshot. Until it returns, the snapshot keeps the journal that follows it. */
  sent(file: FrozenFile): void;
  /** Ends the session, because its snapshot holds too much disk space, or other replicas wait for it. */
  end(code: CloseCode, detail: string): void;
}

export class SnapshotTransfer {
  readonly #parts: TransferParts;
  readonly #taken: TakenWatch;
  #sender: SnapshotSender | null = null;
  #length = 0;
  #stopped = false;
  /** Whether this node has ended the session because of the snapshot: then it does not keep it for the replica. */
  #isUnwelcome = false;

  constructor(parts: TransferParts) {
    this.#parts = parts;
    this.#taken = new TakenWatch(parts.world);
  }

  /** Bytes of the snapshot that the socket was given, and its size; null: no snapshot is ready yet. */
  get progress(): { readonly sent: number; readonly total: number } | null {
    return this.#sender === null ? null : { sent: this.#sender.given, total: this.#length };
  }

  /**
   * Milliseconds for which the replica has taken nothing of the snapshot. Meanwhile the snapshot keeps other replicas from
   * getting theirs, and the journal from being trimmed.
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

  /**
   * Sends a snapshot.
   * @returns what the replica may come back for; null: it cannot
   * @throws Error when the keyspace file cannot be frozen or read
   */
  async run(): Promise<LeftSnapshot | null> {
    const { partial, resumable, snapshots } = this.#parts;
    const snapshot = await snapshots.acquire(resumable ? partial : null);
    let mayReturn = false;
    try {
      await this.#transfer(snapshot);
      mayReturn = resumable && !this.#isUnwelcome;
    } finally {
      if (!mayReturn) snapshot.release();
    }
    return mayReturn ? snapshot.leave(this.#sender?.given ?? snapshot.from) : null;
  }

  async #transfer(snapshot: Snapshot): Promise<void> {
    const { begun, checksummed, output, resumable, sent } = this.#parts;
    const { file, from } = snapshot;
    if (this.#stopped) return;
    this.#length = file.length;
    begun(file, from);
    output.line(`$${file.length}${checksummed ? ' crc32' : ''}${resumable ? ` ${from}` : ''}`);
    this.#sender = new SnapshotSender(snapshot, (bytes, taken) => output.give(bytes, taken));
    const crc32 = await this.#send(snapshot, this.#sender);
    if (this.#isStopped()) return;
    if (checksummed) output.line(`$crc32 ${crc32.toString(16).padStart(8, '0')}`);
    // The session goes online before it releases the snapshot: one of the two pins the journal at every moment.
    sent(file);
  }

  async #send(snapshot: Snapshot, sender: SnapshotSender): Promise<number> {
    const hold = this.#limitHold(snapshot, sender);
    try {
      return await sender.send();
    } finally {
      hold.stop();
    }
  }

  /** Begins to watch the bytes that stay on the disk because of the snapshot. @returns the watch, which the caller stops */
  #limitHold({ file }: Snapshot, sender: SnapshotSender): Hold {
    const { end, snapshots, socket } = this.#parts;
    return snapshots.limitHold(file, {
      taken: () => sender.given - socket.bufferedBytes,
      othersWait: () => snapshots.awaited,
      end: (code, detail) => {
        this.#isUnwelcome = true;
        end(code, detail);
      },
    });
  }

  /** Reads the field by a function, because TypeScript does not know that it changes during an `await`. */
  #isStopped(): boolean {
    return this.#stopped;
  }
}
