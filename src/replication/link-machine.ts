/**
 * The replica's side of the replication conversation, without sockets: received bytes in, effects out.
 *
 *   ping ──+PONG──► replconf ──+OK──► psync ──+CONTINUE──────────────────────────────► stream
 *                                       └──+FULLRESYNC──► length ──$n──► snapshot ──n bytes──► stream
 *                                                            └──$n crc32──► snapshot ──n bytes──► checksum ──$crc32──► stream
 *
 * Owns: how far the conversation is, and the start of a line that has not arrived completely.
 * Invariant: the effects depend on the bytes alone, never on how they were cut into messages.
 */
import { FULL_RESYNC_REASONS, type FullResyncReason } from './decide.ts';
import { type Ancestor, parseLineage } from './history.ts';
import { HISTORY_HASH, hashCapability, parseHash } from './history-hash.ts';
import { schemaCapability } from './keyspace-schema.ts';
import { type Position, parseOffset, parseRunId, type RunId, wireOffset } from './position.ts';
import { ASKED_DIFFERENT } from './session-machine.ts';
import { canonicalUpstream, isWildcard, parseUpstream } from './upstream.ts';

export interface LinkRequest {
  /** What to continue from; null asks for a snapshot. */
  readonly position: Position | null;
  /** With no position: what this node holds is not what its master holds at the same position. */
  readonly different?: boolean;
  /** The history hash at `position`; null: unknown. */
  readonly hash: bigint | null;
  /** Where this node can be reached itself, if it wants that known. */
  readonly listeningUrl: string | null;
  /** The process that asks, so that a node notices when it has dialled itself. */
  readonly nodeId: string;
  /** Of this node's keyspace files: a snapshot must be of the same. */
  readonly keyspaceSchema: number;
  /** Hands over: the node that is asked becomes the master if it stands at exactly `position`. */
  readonly failover: boolean;
}

/** What the master's answer says of its history beside the run ID; null: it does not tell. */
export type AnsweredLineage = readonly Ancestor[] | null;

export type LinkEffect =
  | { readonly kind: 'send'; readonly words: readonly string[] }
  /** Partial resync: the stream goes on after the position that was asked for, under this run ID. */
  | {
      readonly kind: 'continue';
      readonly runId: RunId;
      /** How many bytes were lacking; null: the master does not tell. */
      readonly lacking: number | null;
      readonly lineage: AnsweredLineage;
      readonly announcedUrl: string | null;
      /** The master's history hash at the position that was asked for; null: it does not know, or does not tell. */
      readonly hash: bigint | null;
    }
  /** Full resync: a snapshot of exactly this position follows. */
  | {
      readonly kind: 'snapshot';
      readonly position: Position;
      readonly reason: FullResyncReason | null;
      readonly lineage: AnsweredLineage;
      /** Under which URL clients reach the master, `ws://HOST:PORT`; null: it does not tell. */
      readonly announcedUrl: string | null;
      /** The master's history hash at `position`; null: it does not know, or does not tell. */
      readonly hash: bigint | null;
      readonly length: number;
    }
  | { readonly kind: 'snapshot-bytes'; readonly bytes: Buffer }
  /** `crc32`: of the bytes that the master has sent; null: it does not tell. */
  | { readonly kind: 'snapshot-end'; readonly crc32: number | null }
  | { readonly kind: 'stream'; readonly bytes: Buffer }
  /** The master cannot serve now; keep everything and come back. */
  | { readonly kind: 'not-now'; readonly detail: string }
  | { readonly kind: 'protocol-error'; readonly detail: string };

type Phase =
  | { readonly kind: 'ping' | 'replconf' | 'psync' | 'checksum' | 'stream' | 'over' }
  | ({ readonly kind: 'length' } & Announced)
  | { readonly kind: 'snapshot'; readonly left: number; readonly checksummed: boolean };

interface Announced {
  readonly position: Position;
  readonly reason: FullResyncReason | null;
  readonly lineage: AnsweredLineage;
  readonly announcedUrl: string | null;
  readonly hash: bigint | null;
}

/** No line of the handshake comes near this, also with a full lineage; what is longer is not a master. */
export const MAX_LINE_BYTES = 8_192;
/** The largest snapshot that is taken, in bytes: 16 TiB, more than SQLite's default page count allows. */
export const MAX_SNAPSHOT_BYTES = 2 ** 44;

const NEWLINE = 0x0a;
const CAPABILITIES = ['psync2', 'sqlite', 'lineage', 'snapshot-crc32', 'announced-url', HISTORY_HASH].flatMap(
  (name) => ['capa', name],
);

/** What follows a snapshot must still be countable: 4 PiB of writes are left. */
const MAX_SNAPSHOT_OFFSET = 2 ** 52;

export class LinkMachine {
  readonly #request: LinkRequest;
  #phase: Phase = { kind: 'ping' };
  #line = '';

  constructor(request: LinkRequest) {
    this.#request = request;
  }

  get phase(): Phase['kind'] {
    return this.#phase.kind;
  }

  /** What to send as soon as the connection is up. */
  start(): readonly LinkEffect[] {
    return [{ kind: 'send', words: ['PING'] }];
  }

  /** Takes received bytes; the caller must not change them afterwards. After `protocol-error` nothing more comes. */
  receive(bytes: Buffer): readonly LinkEffect[] {
    const effects: LinkEffect[] = [];
    let rest = bytes;
    while (rest.length > 0) {
      const phase = this.#phase;
      if (phase.kind === 'over') break;
      if (phase.kind === 'stream') {
        effects.push({ kind: 'stream', bytes: rest });
        break;
      }
      if (phase.kind === 'snapshot') {
        const part = rest.subarray(0, phase.left);
        rest = rest.subarray(part.length);
        effects.push({ kind: 'snapshot-bytes', bytes: part });
        this.#snapshotLeft(phase.left - part.length, phase.checksummed, effects);
        continue;
      }
      const end = rest.indexOf(NEWLINE);
      const taken = end === -1 ? rest : rest.subarray(0, end + 1);
      rest = rest.subarray(taken.length);
      this.#line += taken.toString('latin1');
      if (this.#line.length > MAX_LINE_BYTES) {
        this.#fail(`a line of more than ${MAX_LINE_BYTES} bytes`, effects);
      } else if (end !== -1) {
        const line = this.#line.replace(/\r?\n$/, '');
        this.#line = '';
        // Empty lines are how Redis says "still here" while it prepares an answer.
        if (line !== '') this.#take(line, effects);
      }
    }
    return effects;
  }

  #take(line: string, effects: LinkEffect[]): void {
    const phase = this.#phase;
    switch (phase.kind) {
      case 'ping':
        if (!line.startsWith('+')) return this.#refused(line, effects);
        this.#phase = { kind: 'replconf' };
        effects.push({ kind: 'send', words: this.#replconf() });
        return;
      case 'replconf':
        if (!/^[+-]/.test(line)) return this.#fail(`unexpected ${quoted(line)}`, effects);
        // An error here is not critical: an older master may not know an option (docs/design/redis-rules.md, R2).
        this.#phase = { kind: 'psync' };
        effects.push({ kind: 'send', words: this.#psync() });
        return;
      case 'psync':
        return this.#answer(line, effects);
      case 'length': {
        // The word promises a line behind the snapshot; it stands here so that it does not depend on the lineage.
        const match = /^\$(\d{1,14})( crc32)?$/.exec(line);
        const length = Number(match?.[1]);
        if (match === null || length > MAX_SNAPSHOT_BYTES) {
          return this.#fail(`expected the snapshot's length, got ${quoted(line)}`, effects);
        }
        const { position, reason, lineage, announcedUrl, hash } = phase;
        effects.push({ kind: 'snapshot', position, reason, lineage, announcedUrl, hash, length });
        this.#snapshotLeft(length, match[2] !== undefined, effects);
        return;
      }
      case 'checksum': {
        const match = /^\$crc32 ([0-9a-f]{8})$/.exec(line);
        if (match === null)
          return this.#fail(`expected the snapshot's checksum, got ${quoted(line)}`, effects);
        this.#phase = { kind: 'stream' };
        effects.push({ kind: 'snapshot-end', crc32: Number.parseInt(match[1] as string, 16) });
        return;
      }
      default:
        throw new Error(`a line in phase ${phase.kind}`);
    }
  }

  #answer(line: string, effects: LinkEffect[]): void {
    const words = line.split(' ');
    const runId = parseRunId(words[1] ?? '');
    if (words[0] === '+CONTINUE') {
      const asked = this.#request.position;
      if (asked === null) return this.#fail('+CONTINUE without having asked for it', effects);
      if (runId === null && words.length > 1) return this.#fail(`malformed ${quoted(line)}`, effects);
      this.#phase = { kind: 'stream' };
      effects.push({
        kind: 'continue',
        runId: runId ?? asked.runId,
        lacking: parseOffset(words[2] ?? ''),
        lineage: parseLineage(words[3] ?? ''),
        announcedUrl: announced(words[4]),
        hash: parseHash(words[5] ?? ''),
      });
      return;
    }
    if (words[0] === '+FULLRESYNC') {
      const value = parseOffset(words[2] ?? '');
      if (runId === null || value === null || value > MAX_SNAPSHOT_OFFSET) {
        return this.#fail(`malformed ${quoted(line)}`, effects);
      }
      this.#phase = {
        kind: 'length',
        position: { runId, offset: value },
        // A newer master may have a reason that this node does not know: it is not passed on.
        reason: FULL_RESYNC_REASONS.find((reason) => reason === words[3]) ?? null,
        lineage: parseLineage(words[4] ?? ''),
        announcedUrl: announced(words[5]),
        hash: parseHash(words[6] ?? ''),
      };
      return;
    }
    this.#refused(line, effects);
  }

  #refused(line: string, effects: LinkEffect[]): void {
    if (!line.startsWith('-')) return this.#fail(`unexpected ${quoted(line)}`, effects);
    this.#phase = { kind: 'over' };
    effects.push({ kind: 'not-now', detail: line.slice(1) });
  }

  #fail(detail: string, effects: LinkEffect[]): void {
    this.#phase = { kind: 'over' };
    effects.push({ kind: 'protocol-error', detail });
  }

  #snapshotLeft(left: number, checksummed: boolean, effects: LinkEffect[]): void {
    if (left > 0) {
      this.#phase = { kind: 'snapshot', left, checksummed };
      return;
    }
    this.#phase = { kind: checksummed ? 'checksum' : 'stream' };
    if (!checksummed) effects.push({ kind: 'snapshot-end', crc32: null });
  }

  #replconf(): readonly string[] {
    const { listeningUrl: url, nodeId, keyspaceSchema, hash } = this.#request;
    const who = [...(url === null ? [] : ['listening-url', url]), 'node-id', nodeId];
    const proof = hash === null ? [] : ['capa', hashCapability(hash)];
    return ['REPLCONF', ...who, ...CAPABILITIES, 'capa', schemaCapability(keyspaceSchema), ...proof];
  }

  #psync(): readonly string[] {
    const position = this.#request.position;
    if (position === null) return ['PSYNC', this.#request.different === true ? ASKED_DIFFERENT : '?', '-1'];
    const asked = ['PSYNC', position.runId, String(wireOffset(position.offset))];
    return this.#request.failover ? [...asked, 'FAILOVER'] : asked;
  }
}

/** @returns the URL that the word is, in its one form; null for `-`, for none, and for one that nobody else can dial */
function announced(word = '-'): string | null {
  const url = parseUpstream(word);
  return url === null || isWildcard(url) ? null : canonicalUpstream(url);
}

function quoted(line: string): string {
  return JSON.stringify(line.slice(0, 80));
}
