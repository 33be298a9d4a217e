/**
 * The answer of each phase of `link-phases.ts` to each input: two tables, `ON_LINE` for the phases that read lines and `ON_BYTES`
 * for those that read bytes. A conversation that is over reads nothing.
 */
import { FULL_RESYNC_REASONS } from './decide.ts';
import { parseLineage } from './history.ts';
import { HISTORY_HASH, hashCapability, parseHash } from './history-hash.ts';
import type {
  BytesPhase,
  In,
  LinePhase,
  LinkEffect,
  LinkPhase,
  LinkRequest,
  NotServed,
} from './link-phases.ts';
import { parseOffset, parseRunId, wireOffset } from './position.ts';
import { ASKED_DIFFERENT } from './session-machine.ts';
import {
  formatPartial,
  isPartOf,
  MAX_SNAPSHOT_BYTES,
  type PartialSnapshot,
  SNAPSHOT_RESUME,
  schemaCapability,
} from './snapshot-terms.ts';
import { canonicalUpstream, isWildcard, parsePublicUrl, parseUpstream } from './upstream.ts';

/** Kinds of lines; `status` is any line with `+` that has no kind of its own. */
export type LineKind =
  | 'empty'
  | 'status'
  | 'continue'
  | 'full-resync'
  | 'error'
  | 'length'
  | 'checksum'
  | 'other'
  | 'too-long';

/** Bytes of the longest line. No line of the handshake comes near this, even with a full lineage. */
export const MAX_LINE_BYTES = 8_192;
/** Largest offset of a snapshot: the stream after it must still be countable, and 4 PiB are left. */
export const MAX_SNAPSHOT_OFFSET = 2 ** 52;

const CAPABILITIES = [
  'psync2',
  'sqlite',
  'lineage',
  'snapshot-crc32',
  SNAPSHOT_RESUME,
  'announced-url',
  'public-url',
  HISTORY_HASH,
].flatMap((name) => ['capa', name]);

type Step = readonly [LinkPhase, readonly LinkEffect[]];
type OnLine<K extends LinePhase> = (phase: In<K>, line: string, request: LinkRequest) => Step;

/** Redis sends empty lines while it prepares an answer: the master is still there. */
const stay = (phase: LinkPhase): Step => [phase, []];
const unexpected = (_phase: LinkPhase, line: string): Step => failed(`unexpected ${quoted(line)}`);
const notLength = (_phase: LinkPhase, line: string): Step =>
  failed(`expected the snapshot's length, got ${quoted(line)}`);
const notChecksum = (_phase: LinkPhase, line: string): Step =>
  failed(`expected the snapshot's checksum, got ${quoted(line)}`);
const greet: OnLine<'ping'> = (_phase, _line, request) => [{ kind: 'replconf' }, [replconf(request)]];
type Onward = (phase: LinkPhase, line: string, request: LinkRequest) => Step;
const ask: Onward = (_phase, _line, request) => [{ kind: 'psync' }, [psync(request)]];
const announced: Onward = (phase, line, request) =>
  request.partial ? [{ kind: 'partial' }, [partial(request.partial)]] : ask(phase, line, request);
/** An error is not critical here: an older master may not know an option (docs/design/redis-rules.md, R2). */
const unlessLocked =
  (step: Onward): Onward =>
  (phase, line, request) =>
    whyNotServed(line.slice(1)) === 'unauthorized' ? notServed(phase, line) : step(phase, line, request);

/** The cells that all phases share. */
const ANY_PHASE = {
  empty: stay,
  'too-long': () => failed(`a line of more than ${MAX_LINE_BYTES} bytes`),
};

/** Phase × kind of line: every pair has its answer, and the compiler refuses a table that lacks one. */
const ON_LINE: { readonly [K in LinePhase]: { readonly [L in LineKind]: OnLine<K> } } = {
  ping: {
    ...ANY_PHASE,
    status: greet,
    continue: greet,
    'full-resync': greet,
    error: notServed,
    length: unexpected,
    checksum: unexpected,
    other: unexpected,
  },
  replconf: {
    ...ANY_PHASE,
    status: announced,
    continue: announced,
    'full-resync': announced,
    error: unlessLocked(announced),
    length: unexpected,
    checksum: unexpected,
    other: unexpected,
  },
  partial: {
    ...ANY_PHASE,
    status: ask,
    continue: ask,
    'full-resync': ask,
    error: unlessLocked(ask),
    length: unexpected,
    checksum: unexpected,
    other: unexpected,
  },
  psync: {
    ...ANY_PHASE,
    status: unexpected,
    continue: continued,
    'full-resync': fullResync,
    error: notServed,
    length: unexpected,
    checksum: unexpected,
    other: unexpected,
  },
  length: {
    ...ANY_PHASE,
    status: notLength,
    continue: notLength,
    'full-resync': notLength,
    error: notLength,
    length: snapshotBegins,
    checksum: notLength,
    other: notLength,
  },
  checksum: {
    ...ANY_PHASE,
    status: notChecksum,
    continue: notChecksum,
    'full-resync': notChecksum,
    error: notChecksum,
    length: notChecksum,
    checksum: snapshotEnds,
    other: notChecksum,
  },
};

/** The phases that read bytes. `snapshot` is given at most `left` bytes. */
const ON_BYTES: { readonly [K in BytesPhase]: (phase: In<K>, bytes: Buffer) => Step } = {
  snapshot: ({ left, checksummed }, bytes) => {
    const [next, effects] = snapshotLeft(left - bytes.length, checksummed);
    return [next, [{ kind: 'snapshot-bytes', bytes }, ...effects]];
  },
  stream: (phase, bytes) => [phase, [{ kind: 'stream', bytes }]],
};

/**
 * Takes one line of the master.
 * @param line the line without its end; null: it is longer than `MAX_LINE_BYTES`
 * @returns the phase after the line, and the effects to carry out, in this order
 */
export function lineStep(phase: In<LinePhase>, line: string | null, request: LinkRequest): Step {
  // The cell belongs to this phase, which TypeScript cannot follow through two lookups.
  const cell = ON_LINE[phase.kind][kindOf(line)] as OnLine<LinePhase>;
  return cell(phase, line ?? '', request);
}

/** Takes bytes of the snapshot, at most as many as are left of it, or of the stream. @returns as `lineStep` */
export function bytesStep(phase: In<BytesPhase>, bytes: Buffer): Step {
  return phase.kind === 'snapshot' ? ON_BYTES.snapshot(phase, bytes) : ON_BYTES.stream(phase, bytes);
}

function kindOf(line: string | null): LineKind {
  if (line === null) return 'too-long';
  if (line === '') return 'empty';
  const [word] = line.split(' ', 1);
  if (word === '+CONTINUE') return 'continue';
  if (word === '+FULLRESYNC') return 'full-resync';
  if (line.startsWith('+')) return 'status';
  if (line.startsWith('-')) return 'error';
  if (line.startsWith('$crc32')) return 'checksum';
  return line.startsWith('$') ? 'length' : 'other';
}

function continued(_phase: In<'psync'>, line: string, { position: asked }: LinkRequest): Step {
  const words = line.split(' ');
  const runId = parseRunId(words[1] ?? '');
  if (asked === null) return failed('+CONTINUE without having asked for it');
  if (runId === null && words.length > 1) return failed(`malformed ${quoted(line)}`);
  const effect: LinkEffect = {
    kind: 'continue',
    runId: runId ?? asked.runId,
    lacking: parseOffset(words[2] ?? ''),
    lineage: parseLineage(words[3] ?? ''),
    announcedUrl: announcedUrl(words[4]),
    hash: parseHash(words[5] ?? ''),
  };
  return [{ kind: 'stream' }, [effect]];
}

function fullResync(_phase: In<'psync'>, line: string): Step {
  const words = line.split(' ');
  const runId = parseRunId(words[1] ?? '');
  const offset = parseOffset(words[2] ?? '');
  if (runId === null || offset === null || offset > MAX_SNAPSHOT_OFFSET) {
    return failed(`malformed ${quoted(line)}`);
  }
  const next: LinkPhase = {
    kind: 'length',
    position: { runId, offset },
    // A newer master may state a reason that this node does not know: the node does not pass it on.
    reason: FULL_RESYNC_REASONS.find((reason) => reason === words[3]) ?? null,
    lineage: parseLineage(words[4] ?? ''),
    announcedUrl: announcedUrl(words[5]),
    hash: parseHash(words[6] ?? ''),
  };
  return [next, []];
}

function snapshotBegins(phase: In<'length'>, line: string, request: LinkRequest): Step {
  // The word announces a checksum behind the snapshot; it stands here so that it does not depend on the lineage.
  const match = /^\$(\d{1,14})( crc32(?: (\d{1,14}))?)?$/.exec(line);
  const length = Number(match?.[1]);
  if (match === null || length > MAX_SNAPSHOT_BYTES) return notLength(phase, line);
  const from = match[3] === undefined ? null : Number(match[3]);
  const has = request.partial && isPartOf(request.partial, { ...phase, length }) ? request.partial.bytes : 0;
  if (from !== null && from !== 0 && from !== has)
    return failed(`this node has no such part: ${quoted(line)}`);
  const [next, effects] = snapshotLeft(length - (from ?? 0), match[2] !== undefined);
  return [next, [{ ...phase, kind: 'snapshot', length, from }, ...effects]];
}

function snapshotLeft(left: number, checksummed: boolean): Step {
  if (left > 0) return [{ kind: 'snapshot', left, checksummed }, []];
  if (checksummed) return [{ kind: 'checksum' }, []];
  return [{ kind: 'stream' }, [{ kind: 'snapshot-end', crc32: null }]];
}

function snapshotEnds(phase: In<'checksum'>, line: string): Step {
  const digits = /^\$crc32 ([0-9a-f]{8})$/.exec(line)?.[1];
  if (digits === undefined) return notChecksum(phase, line);
  return [{ kind: 'stream' }, [{ kind: 'snapshot-end', crc32: Number.parseInt(digits, 16) }]];
}

function notServed(_phase: LinkPhase, line: string): Step {
  const detail = line.slice(1);
  return [{ kind: 'over' }, [{ kind: 'not-served', why: whyNotServed(detail), detail }]];
}

/** @param detail error of a master, without the `-` in front */
export function whyNotServed(detail: string): NotServed {
  switch (/^\w*/.exec(detail)?.[0]) {
    case 'ERR':
      return 'refused';
    case 'SCHEMA':
      return 'other-schema';
    case 'NOAUTH':
    case 'WRONGPASS':
    case 'NOPERM':
      return 'unauthorized';
    case 'NOMASTERLINK':
      return 'no-master-link';
    default:
      return 'not-now';
  }
}

function failed(detail: string): Step {
  return [{ kind: 'over' }, [{ kind: 'protocol-error', detail }]];
}

function replconf({ listeningUrl: url, nodeId, keyspaceSchema, hash }: LinkRequest): LinkEffect {
  const who = [...(url === null ? [] : ['listening-url', url]), 'node-id', nodeId];
  const proof = hash === null ? [] : ['capa', hashCapability(hash)];
  const words = ['REPLCONF', ...who, ...CAPABILITIES, 'capa', schemaCapability(keyspaceSchema), ...proof];
  return { kind: 'send', words };
}

function partial(part: PartialSnapshot): LinkEffect {
  return { kind: 'send', words: ['REPLCONF', 'snapshot', formatPartial(part)] };
}

function psync({ position, different, failover }: LinkRequest): LinkEffect {
  if (position === null) {
    return { kind: 'send', words: ['PSYNC', different === true ? ASKED_DIFFERENT : '?', '-1'] };
  }
  const words = ['PSYNC', position.runId, String(wireOffset(position.offset))];
  return { kind: 'send', words: failover ? [...words, 'FAILOVER'] : words };
}

/**
 * @returns the URL for clients in its one form: `ws://HOST:PORT`, or a public `https://HOST/PATH`; null for `-`, for no word, for no
 *   URL, and for one that others cannot dial
 */
function announcedUrl(word = '-'): string | null {
  const open = parsePublicUrl(word);
  if (open !== null) return open;
  const url = parseUpstream(word);
  return url === null || isWildcard(url) ? null : canonicalUpstream(url);
}

/** Quotes an answer. Any other line may be bytes of the stream or of a snapshot, which others must not see. */
function quoted(line: string): string {
  return /^[+-]/.test(line) ? JSON.stringify(line.slice(0, 80)) : 'a line that is no answer';
}
