/**
 * The write turn: the one synchronous step in which writes are decided, journaled, applied and fanned out.
 *
 * All requests that arrive in one tick of the event loop share a turn, and with it one journal row and one SQLite
 * commit. A turn is bounded; what does not fit goes into the next one, after the event loop has had its say.
 * Without `await` inside there is nothing that could come between deciding a request and applying it.
 */
import { effectsOf, type StateView, type WriteRequest } from '../keyspace/write.ts';
import { formatPosition } from '../replication/position.ts';
import { assertNever, type Command } from '../stream/command.ts';
import { encode, setBytes } from '../stream/encode.ts';
import { type Log, StorageError, type World } from './ports.ts';
import { type Problem, storageProblem } from './problem.ts';
import type { StreamHead } from './stream-head.ts';

export interface WriteResult {
  /** The key was there before. */
  readonly existed: boolean;
  /** The offset of the end of the request's last command; of a request without effect, the head's offset. */
  readonly version: number;
  /** `<run ID>:<offset>`: whoever has reached it sees the write. */
  readonly position: string;
}

/** One turn decides at most so many requests … */
export const MAX_TURN_REQUESTS = 1_024;
/** … and stops taking more once their values and keys reach so many bytes. */
export const MAX_TURN_BYTES = 4 * 1024 * 1024;

interface Waiting {
  readonly request: WriteRequest;
  readonly bytes: number;
  readonly resolve: (result: WriteResult) => void;
  readonly reject: (error: Error) => void;
}

/** Answers whether this node may write now: the problem to send if it may not. */
export type Guard = () => Problem | null;

export class WriteTurn {
  readonly #world: World;
  readonly #log: Log;
  readonly #head: StreamHead;
  readonly #guard: Guard;
  #waiting: Waiting[] = [];
  #scheduled = false;

  constructor(parts: { world: World; log: Log; head: StreamHead; guard: Guard }) {
    this.#world = parts.world;
    this.#log = parts.log;
    this.#head = parts.head;
    this.#guard = parts.guard;
  }

  /**
   * @returns when the request is in the journal
   * @throws Problem READONLY, SHUTTING_DOWN, DISK_FULL, STORAGE_FAILED; then nothing was written
   */
  submit(request: WriteRequest): Promise<WriteResult> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ request, bytes: bytesOf(request), resolve, reject });
      this.#schedule();
    });
  }

  /** Runs the turns that are due, now: the last ones, before the node stops. */
  drain(): void {
    while (this.#waiting.length > 0) this.#turn();
  }

  /** Decides again, soon, whether the waiting requests may run: the node's role has changed. */
  wake(): void {
    if (this.#waiting.length > 0) this.#schedule();
  }

  #schedule(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    this.#world.soon(() => this.#due());
  }

  #due(): void {
    this.#scheduled = false;
    if (this.#waiting.length === 0) return;
    if (this.#head.full && this.#guard() === null) {
      this.#scheduled = true;
      this.#head.whenRoom(() => this.#due());
      return;
    }
    this.#turn();
    if (this.#waiting.length > 0) this.#schedule();
  }

  #turn(): void {
    const taken = this.#take();
    const refusal = this.#guard();
    if (refusal !== null) {
      for (const each of taken) each.reject(refusal);
      return;
    }
    const staged = new StagedState(this.#head);
    const commands: Command[] = [];
    const decided = taken.map((each) => {
      const effects = effectsOf(each.request, staged);
      staged.add(effects.commands);
      commands.push(...effects.commands);
      return { existed: effects.existed, commandsUntil: commands.length };
    });
    const before = this.#head.offset;
    const run = encode(commands);
    try {
      if (commands.length > 0) this.#head.commit(run);
    } catch (error) {
      const problem = this.#failed(error);
      for (const each of taken) each.reject(problem);
      return;
    }
    const { runId } = this.#head.position;
    for (const [index, { existed, commandsUntil }] of decided.entries()) {
      const version = commandsUntil === 0 ? before : before + (run.ends[commandsUntil - 1] as number);
      const position = formatPosition({ runId, offset: version as typeof before });
      (taken[index] as Waiting).resolve({ existed, version, position });
    }
  }

  #take(): readonly Waiting[] {
    let bytes = 0;
    let count = 0;
    while (count < this.#waiting.length && count < MAX_TURN_REQUESTS && bytes < MAX_TURN_BYTES) {
      bytes += (this.#waiting[count] as Waiting).bytes;
      count += 1;
    }
    const taken = this.#waiting.slice(0, count);
    this.#waiting = this.#waiting.slice(count);
    return taken;
  }

  #failed(error: unknown): Error {
    if (!(error instanceof StorageError)) throw error;
    this.#log.error('write-failed', { error: error.message });
    return storageProblem(error);
  }
}

/** The state at the head, with what this turn has decided so far laid over it. */
class StagedState implements StateView {
  readonly #head: StreamHead;
  readonly #staged = new Map<string, boolean>();

  constructor(head: StreamHead) {
    this.#head = head;
  }

  has(key: string): boolean {
    return this.#staged.get(key) ?? this.#head.has(key);
  }

  add(commands: readonly Command[]): void {
    for (const command of commands) {
      switch (command.kind) {
        case 'set':
          this.#staged.set(command.key, true);
          break;
        case 'del':
          for (const key of command.keys) this.#staged.set(key, false);
          break;
        case 'expire-at':
        case 'persist':
        case 'flush-all':
          throw new Error(`no request has the effect ${command.kind} yet`);
        default:
          assertNever(command);
      }
    }
  }
}

function bytesOf(request: WriteRequest): number {
  switch (request.kind) {
    case 'set':
      return setBytes(request.key, request.value.length);
    case 'delete':
      return setBytes(request.key, 0);
    case 'load':
      return request.entries.reduce((sum, entry) => sum + setBytes(entry.key, entry.value.length), 0);
  }
}
