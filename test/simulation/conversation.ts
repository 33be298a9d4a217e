/**
 * What two nodes say to each other on one connection, understood from the bytes alone: who stands where, and whether
 * what is sent is there to be sent at that very moment.
 */
import { type Position, parseOffset, parseRunId, type RunId } from '../../src/replication/position.ts';
import { RespParser } from '../../src/stream/resp-parser.ts';

export interface ConversationWatcher {
  /** The master hands out the bytes after `from`. */
  handedOut(runId: RunId, from: number, bytes: Buffer): void;
  /** The replica says what is in its journal. */
  /** @param durable null: the replica does not say what is on its disk */
  acknowledged(offset: number, durable: number | null): void;
  /** The master has answered with a full resync. */
  announced(position: Position, reason: string, asked: string): void;
  /** The replica may go on from there. */
  continued(offset: number): void;
}

type Phase =
  | { readonly kind: 'lines' }
  | { readonly kind: 'length'; readonly position: Position }
  | {
      readonly kind: 'snapshot';
      readonly position: Position;
      readonly left: number;
      readonly checksummed: boolean;
    }
  | { readonly kind: 'checksum'; readonly position: Position }
  | { readonly kind: 'stream'; readonly runId: RunId; readonly at: number };

const LIMITS = { maxElements: 64, maxBulkBytes: 4_096, maxArrayBytes: 16_384 };

export class Conversation {
  readonly #watcher: ConversationWatcher;
  readonly #requests = new RespParser(LIMITS);
  #asked = 0;
  #askedRunId = '';
  #phase: Phase = { kind: 'lines' };
  #line = '';

  constructor(watcher: ConversationWatcher) {
    this.#watcher = watcher;
  }

  replicaSends(bytes: Buffer): void {
    this.#requests.push(bytes);
    for (let next = this.#requests.next(); next !== null; next = this.#requests.next()) {
      const words = next.elements.map((element) => element.toString('utf8'));
      if (words[0] === 'PSYNC') [this.#askedRunId, this.#asked] = [words[1] ?? '', Number(words[2])];
      if (words[0] === 'REPLCONF' && words[1] === 'ACK') {
        this.#watcher.acknowledged(Number(words[2]), words[3] === 'FACK' ? Number(words[4]) : null);
      }
    }
  }

  masterSends(bytes: Buffer): void {
    let rest = bytes;
    while (rest.length > 0) {
      const phase = this.#phase;
      if (phase.kind === 'stream') {
        this.#watcher.handedOut(phase.runId, phase.at, rest);
        this.#phase = { ...phase, at: phase.at + rest.length };
        return;
      }
      if (phase.kind === 'snapshot') {
        const part = Math.min(phase.left, rest.length);
        rest = rest.subarray(part);
        this.#snapshotLeft(phase.position, phase.left - part, phase.checksummed);
        continue;
      }
      const end = rest.indexOf(0x0a);
      this.#line += rest.toString('latin1', 0, end === -1 ? rest.length : end);
      if (end === -1) return;
      rest = rest.subarray(end + 1);
      const line = this.#line.trimEnd();
      this.#line = '';
      this.#take(line, phase);
    }
  }

  #take(line: string, phase: Phase): void {
    if (phase.kind === 'length') {
      const [length = '', word, from = '0'] = line.slice(1).split(' ');
      this.#snapshotLeft(phase.position, Number(length) - Number(from), word === 'crc32');
      return;
    }
    if (phase.kind === 'checksum') {
      this.#phase = { kind: 'stream', runId: phase.position.runId, at: phase.position.offset };
      return;
    }
    const [answer, id = '', number = '', reason = ''] = line.split(' ');
    const runId = parseRunId(id);
    if (answer === '+CONTINUE' && runId !== null) {
      this.#watcher.continued(this.#asked - 1);
      this.#phase = { kind: 'stream', runId, at: this.#asked - 1 };
    }
    const offset = parseOffset(number);
    if (answer === '+FULLRESYNC' && runId !== null && offset !== null) {
      this.#watcher.announced({ runId, offset }, reason, this.#askedRunId);
      this.#phase = { kind: 'length', position: { runId, offset } };
    }
  }

  #snapshotLeft(position: Position, left: number, checksummed: boolean): void {
    if (left > 0) this.#phase = { kind: 'snapshot', position, left, checksummed };
    else if (checksummed) this.#phase = { kind: 'checksum', position };
    else this.#phase = { kind: 'stream', runId: position.runId, at: position.offset };
  }
}
