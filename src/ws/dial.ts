/** Opens WebSockets to masters. */
import type { IncomingMessage } from 'node:http';
import { WebSocket } from 'ws';
import { type Dial, UnusableTls } from '../node/ports/stream-socket.ts';
import { CloseCode } from '../replication/close-code.ts';
import { TlsFileError } from '../tls/pem.ts';
import type { UpstreamTls } from '../tls/upstream-tls.ts';
import { HTTPS_PORT_ANSWER } from '../web/problem-body.ts';
import { MAX_MESSAGE_BYTES, PIECES, type ShownTokens, Socket, STREAM_PATH, SUBPROTOCOL } from './socket.ts';

/** Bytes to read of an answer that refuses the WebSocket; a problem of psyncd has a few hundred. */
const MAX_REFUSAL_BYTES = 4 * 1024;
/** Number of tokens to remember of a connection: a new one is shown on it before the old one ends. */
const MAX_SHOWN = 4;
/** Why a master with TLS does not understand this node. */
const WANTS_TLS = 'the upstream speaks TLS: its URL begins with wss://';
/** Time for the refusing answer to be complete, in milliseconds. */
const REFUSAL_TIMEOUT_MS = 1_000;

/** The token that this node shows to its master. */
interface TokenFile {
  /** Whether a file is named. */
  readonly isSet: boolean;
  /** @returns the token that the file has now; null: there is none */
  readonly read: () => string | null;
}

/**
 * @param handshakeTimeoutMs called at each dial: the time allowed for connecting and the upgrade
 * @param token the token to show to the master, read at each dial; null: none
 * @param tls for `wss://` URLs
 */
export function dialer(handshakeTimeoutMs: () => number, token: TokenFile, tls: UpstreamTls): Dial {
  return (url, events) => {
    const shown = shownTokens(token.read);
    const [own = null] = shown.all;
    const isSecure = url.startsWith('wss:');
    const credentials = credentialsOf(own !== null, token, isSecure ? tls : null);
    const ws = new WebSocket(new URL(STREAM_PATH, url), SUBPROTOCOL, {
      handshakeTimeout: handshakeTimeoutMs(),
      maxPayload: MAX_MESSAGE_BYTES,
      ...PIECES,
      perMessageDeflate: false,
      followRedirects: false,
      ...(isSecure ? tlsOptions(tls) : {}),
      ...(own === null ? {} : { headers: { authorization: `Bearer ${own}` } }),
    });
    const socket = new Socket(ws, url, shown, credentials);
    let refusal: string | null = null;
    let refusedWith: number | null = null;
    let isOpen = false;
    ws.on('open', () => {
      isOpen = true;
      events.opened();
    });
    ws.on('error', (error: Error & { code?: unknown }) => {
      if (!isSecure || isOpen || refusal !== null) return;
      const problem = tls.problem(error);
      if (problem !== null) [refusal, refusedWith] = [socket.showable(problem), CloseCode.tlsFailed];
      else if (error.code === 'ECONNRESET' && tls.suspicion !== '')
        [refusal, refusedWith] = [`${error.message}${tls.suspicion}`, CloseCode.tlsFailed];
    });
    ws.on('unexpected-response', (_request, response) => {
      const status = `the answer is ${response.statusCode}`;
      refusal = status;
      refusedWith = closeCodeFor(response.statusCode, own !== null || (isSecure && tls.isShown));
      const told = textOf(response).then((text) => {
        if (!isSecure && text === HTTPS_PORT_ANSWER)
          [refusal, refusedWith] = [WANTS_TLS, CloseCode.tlsFailed];
        const detail = detailOf(text, socket.showable);
        if (detail !== null) refusal = `${status}: ${detail}`;
      });
      told.catch(() => undefined).finally(() => ws.terminate());
    });
    socket.listen({
      ...events,
      closed: (code, reason) => events.closed(refusedWith ?? code, refusal ?? reason),
    });
    return socket;
  };
}

/**
 * @param isShown whether the master is shown a token now
 * @param tls null: the connection has no TLS
 * @returns what this node shows to its master, and the settings for it, in one clause
 */
function credentialsOf(isShown: boolean, token: TokenFile, tls: UpstreamTls | null): string {
  if (isShown) return 'this node shows the token of --upstream-token-file';
  if (token.isSet) return 'this node shows no token, because the file of --upstream-token-file has none';
  if (tls === null) return 'this node shows no token: --upstream-token-file FILE names one';
  return tls.isShown
    ? 'this node shows the certificate of --upstream-cert, and no token'
    : 'this node shows nothing: --upstream-token-file FILE names a token, --upstream-cert FILE a certificate';
}

/** Begins with the token of this moment, which stands in the header. @param token what the file has */
function shownTokens(token: () => string | null): ShownTokens {
  const first = token();
  let all = first === null ? [] : [first];
  return {
    get all() {
      return all;
    },
    next: () => {
      const now = token();
      if (now === null || now === all.at(-1)) return null;
      all = [...all, now].slice(-MAX_SHOWN);
      return now;
    },
  };
}

/** @throws UnusableTls */
function tlsOptions(tls: UpstreamTls): ReturnType<UpstreamTls['options']> {
  try {
    return tls.options();
  } catch (error) {
    if (error instanceof TlsFileError) throw new UnusableTls(error.told, error.message);
    throw error;
  }
}

/**
 * The close code with the same meaning as a refusal of the WebSocket; null: none.
 * @param isShown whether the master has seen a token or a certificate: then 403 is about its rights, and otherwise about the host
 */
function closeCodeFor(status: number | undefined, isShown: boolean): number | null {
  if (status === 401) return CloseCode.unauthorized;
  return status === 403 && isShown ? CloseCode.forbidden : null;
}

/** @returns the text of an answer that refuses the WebSocket; empty: it is too long */
async function textOf(response: IncomingMessage): Promise<string> {
  const timer = setTimeout(() => response.destroy(), REFUSAL_TIMEOUT_MS);
  try {
    let text = '';
    for await (const chunk of response.setEncoding('utf8')) {
      text += chunk;
      if (text.length > MAX_REFUSAL_BYTES) return '';
    }
    return text;
  } finally {
    clearTimeout(timer);
  }
}

/**
 * @param showable makes words of the master ready to be shown
 * @returns the detail of the problem in such an answer; null: the answer is not a problem
 */
function detailOf(text: string, showable: (words: string) => string): string | null {
  try {
    const problem: unknown = JSON.parse(text);
    const isProblem = typeof problem === 'object' && problem !== null && 'detail' in problem;
    return isProblem && typeof problem.detail === 'string' ? showable(problem.detail) : null;
  } catch {
    return null;
  }
}
