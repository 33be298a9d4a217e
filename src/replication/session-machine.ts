/**
 * The master's side of the replication conversation, without sockets: commands in, effects out.
 *
 *   locked ──AUTH──► greeting ──REPLCONF──► greeting ──SYNC/PSYNC──► syncing ──(snapshot, if any, was sent)──► REPLCONF ACK …
 *
 * A peer that may replicate without AUTH begins in `greeting`. AUTH also renews a token, in `syncing` without an answer.
 *
 * Redis's rules (docs/design/redis-rules.md, R1): unknown capabilities are fine, unknown REPLCONF options are errors that
 * the replica may ignore, an offset that is no number starts no resync, ACK is never answered.
 */
import type { SyncRequest } from './decide.ts';
import { announcedHash } from './history-hash.ts';
import { type Offset, parseOffset, parseRunId } from './position.ts';
import { type PartialSnapshot, parsePartial } from './snapshot-terms.ts';
import { canonicalUpstream, parseUpstream } from './upstream.ts';

export type SessionState = {
  readonly kind: 'locked' | 'greeting' | 'syncing';
  /** URL under which the replica says that other nodes reach it; null: it has not said. */
  readonly listeningUrl: string | null;
  readonly capabilities: readonly string[];
  /** ID of the process that the replica runs in: by it a node notices that it has dialled itself. */
  readonly nodeId: string | null;
  /** The part of a snapshot that the replica has from an earlier connection; null: it has announced none. */
  readonly partial: PartialSnapshot | null;
};

export type SessionEffect =
  | { readonly kind: 'reply'; readonly line: string }
  /** `failover`: before this node answers, it becomes the master if it stands at the position of the request. */
  | { readonly kind: 'start-sync'; readonly request: SyncRequest; readonly failover: boolean }
  /** The node looks whether the token allows to replicate; `authStep` takes the outcome. No command is taken before. */
  | { readonly kind: 'authenticate'; readonly token: string }
  /** The token that the replica has shown after PSYNC does not allow to replicate. */
  | { readonly kind: 'unauthorized'; readonly refusal: string }
  /** The replica has everything up to `offset` in its journal, and up to `durable` on its disk; null: it does not say. */
  | { readonly kind: 'acknowledged'; readonly offset: Offset; readonly durable: Offset | null }
  | { readonly kind: 'protocol-error'; readonly detail: string };

export const NEW_SESSION: SessionState = {
  kind: 'greeting',
  listeningUrl: null,
  capabilities: [],
  nodeId: null,
  partial: null,
};

/** The first state of a peer that has not shown yet that it may replicate. */
export const LOCKED_SESSION: SessionState = { ...NEW_SESSION, kind: 'locked' };

/** Capabilities of one replica that the master keeps; of more it keeps the last ones. */
const MAX_CAPABILITIES = 16;
/** Characters of the longest capability that the master keeps; psyncd knows none that is nearly as long. */
const MAX_CAPABILITY_LENGTH = 64;
/** Form of the ID of a replica's process; the IDs of psyncd are 40 hex characters. */
const NODE_ID = /^[\x21-\x7e]{1,64}$/;

/** Whether the text can be the ID of a node's process. */
export function isNodeId(text: string): boolean {
  return NODE_ID.test(text);
}
/** Asks, in place of a run ID, for a snapshot because a comparison found different data. Older masters read it as `?`. */
export const ASKED_DIFFERENT = '?different-data';
/** A signed 64-bit number as Redis reads it (string2ll): one spelling for each, without sign, zeros or spaces in front. */
const INTEGER = /^(?:0|-?[1-9]\d{0,18})$/;
const [MIN_INTEGER, MAX_INTEGER] = [-(2n ** 63n), 2n ** 63n - 1n];

/** Kinds of commands: REPLCONF ACK with one value, or with FACK and a second one, is a command of its own. */
export type CommandKind = 'ping' | 'auth' | 'announce' | 'ack' | 'sync' | 'psync' | 'unknown';

type Step = readonly [SessionState, readonly SessionEffect[]];
type Take = (state: SessionState, words: readonly string[]) => Step;

/** A reply after PSYNC would stand in the middle of the snapshot or the stream, so the master ends the conversation. */
const afterPsync: Take = (state, words) => [
  state,
  [protocolError(`${printable(words.slice(0, 2).join(' '))} after PSYNC`)],
];

/** The words are Redis's, and so is the rule that the peer may try again. */
const locked: Take = (state) => [state, [reply('-NOAUTH Authentication required.')]];

/** State × command: every pair has its answer, and the compiler refuses a table that lacks one. */
const TABLE: { readonly [S in SessionState['kind']]: { readonly [C in CommandKind]: Take } } = {
  locked: {
    ping: (state) => [state, [reply('+PONG')]],
    auth,
    announce: locked,
    ack: locked,
    sync: locked,
    psync: locked,
    unknown: locked,
  },
  greeting: {
    ping: (state) => [state, [reply('+PONG')]],
    auth,
    announce: replconf,
    ack: (state) => [state, [protocolError('REPLCONF ACK before PSYNC')]],
    sync: (state) => startSync(state, { kind: 'sync' }),
    psync,
    unknown: (state, words) => [
      state,
      [protocolError(`unknown command ${printable((words[0] ?? '').toUpperCase())}`)],
    ],
  },
  syncing: {
    ping: afterPsync,
    auth: (state, words) =>
      words.length === 2 || words.length === 3 ? auth(state, words) : afterPsync(state, words.slice(0, 1)),
    announce: afterPsync,
    ack: (state, words) => [state, [acknowledgement(words[2] ?? '', words[4] ?? null)]],
    sync: afterPsync,
    psync: afterPsync,
    unknown: afterPsync,
  },
};

/**
 * Takes one command of the replica.
 * @param state state of the conversation before the command
 * @param words the command and its arguments
 * @returns the state after the command, and the effects to carry out, in this order
 */
export function sessionStep(state: SessionState, words: readonly string[]): Step {
  return TABLE[state.kind][kindOf(words)](state, words);
}

/**
 * Takes the outcome of an effect `authenticate`.
 * @param refusal error line for a token that does not allow to replicate; null: it does
 * @returns as `sessionStep`
 */
export function authStep(state: SessionState, refusal: string | null): Step {
  if (state.kind === 'syncing') return [state, refusal === null ? [] : [{ kind: 'unauthorized', refusal }]];
  if (refusal !== null) return [state, [reply(refusal)]];
  return [{ ...state, kind: 'greeting' }, [reply('+OK')]];
}

function kindOf(words: readonly string[]): CommandKind {
  switch ((words[0] ?? '').toUpperCase()) {
    case 'PING':
      return 'ping';
    case 'AUTH':
      return 'auth';
    case 'REPLCONF':
      return isAcknowledgement(words) ? 'ack' : 'announce';
    case 'SYNC':
      return 'sync';
    case 'PSYNC':
      return 'psync';
    default:
      return 'unknown';
  }
}

/** `REPLCONF ACK offset`, or `REPLCONF ACK offset FACK offset`. */
function isAcknowledgement(words: readonly string[]): boolean {
  if (words[1]?.toLowerCase() !== 'ack') return false;
  return words.length === 3 || (words.length === 5 && words[3]?.toLowerCase() === 'fack');
}

/** `AUTH token`, or as Redis's replicas say it, `AUTH user token`: the token says who it is. */
function auth(state: SessionState, words: readonly string[]): Step {
  if (words.length !== 2 && words.length !== 3) {
    return [state, [reply("-ERR wrong number of arguments for 'auth' command")]];
  }
  return [state, [{ kind: 'authenticate', token: words.at(-1) as string }]];
}

function replconf(state: SessionState, words: readonly string[]): Step {
  if (words.length < 3 || words.length % 2 === 0) return [state, [reply('-ERR syntax error')]];
  let next = state;
  let url: URL | null = null;
  for (let index = 1; index < words.length; index += 2) {
    const option = (words[index] as string).toLowerCase();
    const value = words[index + 1] as string;
    switch (option) {
      case 'ack':
        return [state, [protocolError('REPLCONF ACK before PSYNC')]];
      case 'listening-url':
        // INFO shows the URL, and this node follows it after a hand-over: it must be a node's URL and nothing else.
        url = parseUpstream(value);
        if (url === null) return [state, [reply('-ERR listening-url is no URL of the form ws://HOST:PORT')]];
        next = { ...next, listeningUrl: canonicalUpstream(url) };
        break;
      case 'node-id':
        if (!isNodeId(value)) return [state, [reply('-ERR node-id is not 1 to 64 printable characters')]];
        next = { ...next, nodeId: value };
        break;
      case 'snapshot': {
        const partial = parsePartial(value);
        if (partial === null)
          return [state, [reply('-ERR snapshot is not <run ID>:<offset>:<length>:<bytes>:<crc32>')]];
        next = { ...next, partial };
        break;
      }
      case 'capa':
        // An unknown capability is fine, and the master has no use for it.
        if (value.length > MAX_CAPABILITY_LENGTH) break;
        next = { ...next, capabilities: [...next.capabilities, value].slice(-MAX_CAPABILITIES) };
        break;
      default:
        return [state, [reply(`-ERR Unrecognized REPLCONF option: ${printable(option)}`)]];
    }
  }
  return [next, [reply('+OK')]];
}

/** @param onDisk the value after FACK; null: there is none */
function acknowledgement(value: string, onDisk: string | null): SessionEffect {
  const acknowledged = parseOffset(value);
  if (acknowledged === null) return protocolError('REPLCONF ACK without an offset');
  if (onDisk === null) return { kind: 'acknowledged', offset: acknowledged, durable: null };
  const durable = parseOffset(onDisk);
  return durable === null || durable > acknowledged
    ? protocolError('REPLCONF ACK with FACK without an offset up to the first one')
    : { kind: 'acknowledged', offset: acknowledged, durable };
}

function psync(state: SessionState, words: readonly string[]): Step {
  const [, id, asked, option] = words;
  const failover = words.length === 4 && option?.toUpperCase() === 'FAILOVER';
  if ((words.length !== 3 && !failover) || id === undefined || asked === undefined) {
    return [state, [reply("-ERR wrong number of arguments for 'psync' command")]];
  }
  const wanted = integer(asked);
  if (wanted === null) return [state, [reply('-ERR value is not an integer or out of range')]];
  // Redis takes any other word for an unknown ID, whatever it looks like; `?` in front asks for a snapshot.
  const runId = parseRunId(id);
  if (runId === null && failover) return [state, [reply('-ERR FAILOVER needs a run ID')]];
  if (runId !== null) {
    const hash = announcedHash(state.capabilities);
    return startSync(state, { kind: 'psync', runId, asked: wanted, hash }, failover);
  }
  if (id === ASKED_DIFFERENT) return startSync(state, { kind: 'psync-different' });
  return startSync(state, { kind: id.startsWith('?') ? 'psync-first' : 'psync-unknown' });
}

/** @returns the number; beyond 2^53, where no stream ends, the nearest safe integer; null for a text that is no number */
function integer(text: string): number | null {
  if (!INTEGER.test(text)) return null;
  const value = BigInt(text);
  if (value < MIN_INTEGER || value > MAX_INTEGER) return null;
  return Math.max(Number.MIN_SAFE_INTEGER, Math.min(Number.MAX_SAFE_INTEGER, Number(value)));
}

function startSync(state: SessionState, request: SyncRequest, failover = false): Step {
  return [{ ...state, kind: 'syncing' }, [{ kind: 'start-sync', request, failover }]];
}

function reply(line: string): SessionEffect {
  return { kind: 'reply', line };
}

function protocolError(detail: string): SessionEffect {
  return { kind: 'protocol-error', detail };
}

/** Cuts a replica's words and replaces control characters, so that one line can send them back. */
function printable(text: string): string {
  return text.slice(0, 32).replace(/[^\x20-\x7e]/g, '?');
}
