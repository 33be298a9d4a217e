/**
 * The master's side of the replication conversation, without sockets: commands in, effects out.
 *
 *   greeting ──REPLCONF──► greeting ──SYNC/PSYNC──► syncing ──(snapshot, if any, was sent)──► REPLCONF ACK …
 *
 * Redis's rules (psync-rules.md, 1.1): unknown capabilities are fine, unknown REPLCONF options are errors that
 * the replica may ignore, an offset that is no number starts no resync, ACK is never answered.
 */
import type { SyncRequest } from './decide.ts';
import { type Offset, parseOffset, parseRunId } from './position.ts';

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

/** The longest URL that a replica may announce, in characters. */
export const MAX_URL_LENGTH = 2_048;
const MAX_CAPABILITIES = 16;

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
  for (let index = 1; index < words.length; index += 2) {
    const option = (words[index] as string).toLowerCase();
    const value = words[index + 1] as string;
    switch (option) {
      case 'ack':
        return [state, [protocolError('REPLCONF ACK before PSYNC')]];
      case 'listening-url':
        if (value.length > MAX_URL_LENGTH || !/^wss?:\/\/[\x21-\x7e]+$/.test(value) || !URL.canParse(value)) {
          return [state, [reply('-ERR listening-url is no ws:// URL')]];
        }
        next = { ...next, listeningUrl: value };
        break;
      case 'node-id':
        next = { ...next, nodeId: value };
        break;
      case 'capa':
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
  const wanted = Number(asked);
  if (!/^-?\d{1,16}$/.test(asked) || !Number.isSafeInteger(wanted)) {
    return [state, [reply('-ERR value is not an integer or out of range')]];
  }
  if (id === '?' && failover) return [state, [reply('-ERR FAILOVER needs a run ID')]];
  if (id === '?') return startSync(state, { kind: 'psync-first' });
  const runId = parseRunId(id);
  if (runId === null) return [state, [protocolError('PSYNC with something that is no run ID')]];
  return startSync(state, { kind: 'psync', runId, asked: wanted }, failover);
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
