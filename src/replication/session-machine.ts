/**
 * The master's side of the replication conversation, without sockets: commands in, effects out.
 *
 *   greeting ──REPLCONF──► greeting ──SYNC/PSYNC──► syncing ──(snapshot, if any, was sent)──► REPLCONF ACK …
 *
 * Redis's rules (docs/design/redis-rules.md, R1): unknown capabilities are fine, unknown REPLCONF options are errors that
 * the replica may ignore, an offset that is no number starts no resync, ACK is never answered.
 */
import type { SyncRequest } from './decide.ts';
import { announcedHash } from './history-hash.ts';
import { type Offset, parseOffset, parseRunId } from './position.ts';
import { canonicalUpstream, parseUpstream } from './upstream.ts';

export type SessionState = {
  readonly kind: 'greeting' | 'syncing';
  /** Where the replica says that it can be reached itself. */
  readonly listeningUrl: string | null;
  readonly capabilities: readonly string[];
  /** The process that the replica runs in, so that a node notices when it has dialled itself. */
  readonly nodeId: string | null;
};

export type SessionEffect =
  | { readonly kind: 'reply'; readonly line: string }
  /** `failover`: before it is answered, this node becomes the master, if it stands where the request does. */
  | { readonly kind: 'start-sync'; readonly request: SyncRequest; readonly failover: boolean }
  | { readonly kind: 'acknowledged'; readonly offset: Offset }
  | { readonly kind: 'protocol-error'; readonly detail: string };

export const NEW_SESSION: SessionState = {
  kind: 'greeting',
  listeningUrl: null,
  capabilities: [],
  nodeId: null,
};

/** The last so many capabilities are kept, … */
const MAX_CAPABILITIES = 16;
/** … and none of more characters: this node knows none that is nearly as long. */
const MAX_CAPABILITY_LENGTH = 64;
/** What a replica's process calls itself; psyncd's own are 40 hex characters. */
const NODE_ID = /^[\x21-\x7e]{1,64}$/;
/** In place of a run ID: a snapshot, because a comparison has found different data. To older masters it is `?`. */
export const ASKED_DIFFERENT = '?different-data';
/** A signed 64-bit number as Redis reads it (string2ll): one spelling for each, without sign, zeros or spaces in front. */
const INTEGER = /^(?:0|-?[1-9]\d{0,18})$/;
const [MIN_INTEGER, MAX_INTEGER] = [-(2n ** 63n), 2n ** 63n - 1n];

/**
 * @param state where the conversation stands
 * @param words the command and its arguments
 * @returns the new state, and what is to be done, in this order
 */
export function sessionStep(
  state: SessionState,
  words: readonly string[],
): readonly [SessionState, readonly SessionEffect[]] {
  const name = (words[0] ?? '').toUpperCase();
  // From here on a reply would stand in the middle of the snapshot or the stream.
  if (state.kind === 'syncing') return [state, [acknowledgement(name, words)]];
  switch (name) {
    case 'PING':
      return [state, [reply('+PONG')]];
    case 'REPLCONF':
      return replconf(state, words);
    case 'SYNC':
      return startSync(state, { kind: 'sync' });
    case 'PSYNC':
      return psync(state, words);
    default:
      return [state, [protocolError(`unknown command ${printable(name)}`)]];
  }
}

function replconf(
  state: SessionState,
  words: readonly string[],
): readonly [SessionState, readonly SessionEffect[]] {
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
        // After a hand-over this node follows it, and until then INFO shows it: it is a node's URL and nothing else.
        url = parseUpstream(value);
        if (url === null) return [state, [reply('-ERR listening-url is no URL of the form ws://HOST:PORT')]];
        next = { ...next, listeningUrl: canonicalUpstream(url) };
        break;
      case 'node-id':
        if (!NODE_ID.test(value)) return [state, [reply('-ERR node-id is not 1 to 64 printable characters')]];
        next = { ...next, nodeId: value };
        break;
      case 'capa':
        // What this node cannot know is fine, and of no use.
        if (value.length > MAX_CAPABILITY_LENGTH) break;
        next = { ...next, capabilities: [...next.capabilities, value].slice(-MAX_CAPABILITIES) };
        break;
      default:
        return [state, [reply(`-ERR Unrecognized REPLCONF option: ${printable(option)}`)]];
    }
  }
  return [next, [reply('+OK')]];
}

function acknowledgement(name: string, words: readonly string[]): SessionEffect {
  const [, option, value] = words;
  if (name !== 'REPLCONF' || words.length !== 3 || option?.toLowerCase() !== 'ack') {
    return protocolError(`${printable(words.slice(0, 2).join(' '))} after PSYNC`);
  }
  const acknowledged = parseOffset(value ?? '');
  return acknowledged === null
    ? protocolError('REPLCONF ACK without an offset')
    : { kind: 'acknowledged', offset: acknowledged };
}

function psync(
  state: SessionState,
  words: readonly string[],
): readonly [SessionState, readonly SessionEffect[]] {
  const [, id, asked, option] = words;
  const failover = words.length === 4 && option?.toUpperCase() === 'FAILOVER';
  if ((words.length !== 3 && !failover) || id === undefined || asked === undefined) {
    return [state, [reply("-ERR wrong number of arguments for 'psync' command")]];
  }
  const wanted = integer(asked);
  if (wanted === null) return [state, [reply('-ERR value is not an integer or out of range')]];
  // To Redis any other ID is one that it does not know, whatever it looks like; `?` in front asks for a snapshot.
  const runId = parseRunId(id);
  if (runId === null && failover) return [state, [reply('-ERR FAILOVER needs a run ID')]];
  if (runId !== null) {
    const hash = announcedHash(state.capabilities);
    return startSync(state, { kind: 'psync', runId, asked: wanted, hash }, failover);
  }
  if (id === ASKED_DIFFERENT) return startSync(state, { kind: 'psync-different' });
  return startSync(state, { kind: id.startsWith('?') ? 'psync-first' : 'psync-unknown' });
}

/** @returns the number; beyond 2^53, where no stream ends, the nearest that a double can count; null for what is none */
function integer(text: string): number | null {
  if (!INTEGER.test(text)) return null;
  const value = BigInt(text);
  if (value < MIN_INTEGER || value > MAX_INTEGER) return null;
  return Math.max(Number.MIN_SAFE_INTEGER, Math.min(Number.MAX_SAFE_INTEGER, Number(value)));
}

function startSync(
  state: SessionState,
  request: SyncRequest,
  failover = false,
): readonly [SessionState, readonly SessionEffect[]] {
  return [{ ...state, kind: 'syncing' }, [{ kind: 'start-sync', request, failover }]];
}

function reply(line: string): SessionEffect {
  return { kind: 'reply', line };
}

function protocolError(detail: string): SessionEffect {
  return { kind: 'protocol-error', detail };
}

/** A replica's own words, cut and without control characters, fit to be sent back in one line. */
function printable(text: string): string {
  return text.slice(0, 32).replace(/[^\x20-\x7e]/g, '?');
}
