/**
 * What the URL of a node may look like, wherever it comes from: a setting, a request, a peer's answer or a handshake.
 * Pure rules; a node that is reached by another name is noticed in the handshake, by its node ID.
 */
const LOCAL: ReadonlySet<string> = new Set(['localhost', '127.0.0.1', '[::1]']);
const WILDCARD: ReadonlySet<string> = new Set(['0.0.0.0', '[::]']);

/** The longest URL of a node, in characters: a DNS name has 253 at most, and scheme and port take a dozen. */
export const MAX_NODE_URL_LENGTH = 300;
/**
 * Nothing but scheme, host, port and one slash. `URL` alone would drop tabs and line ends, and take back-slashes; and it
 * would leave out that there was a `?` or a `#` with nothing behind it.
 */
const NODE_URL = /^wss?:\/\/[^\s\\/?#@\p{Cc}]+\/?$/iu;
/** A DNS name, an IPv4 address, or an IPv6 address in brackets. `URL` also takes commas, quotes and the like. */
const HOST = /^(?:[a-z0-9_](?:[a-z0-9_.-]*[a-z0-9_])?\.?|\[[0-9a-f:.]+\])$/;
const MAX_HOST_LENGTH = 253;

/** @returns the URL if it is `ws://HOST:PORT` or `wss://HOST:PORT`, with or without a slash at its end; else null */
export function parseUpstream(text: string): URL | null {
  if (text.length > MAX_NODE_URL_LENGTH || !NODE_URL.test(text) || !URL.canParse(text)) return null;
  const url = new URL(text);
  const isHost = url.hostname.length <= MAX_HOST_LENGTH && HOST.test(url.hostname);
  return isHost && url.port !== '0' ? url : null;
}

/** The rule in words, for whoever gave another URL. @param text at most its first 100 characters are repeated */
export function notAnUpstream(text: string): string {
  const shown = text.length > 100 ? `${text.slice(0, 100)}…` : text;
  return `${JSON.stringify(shown)} is no URL of the form ws://HOST:PORT`;
}

/**
 * @param listeningUrl where this node listens; null: not known yet
 * @returns what is wrong, or null
 */
export function upstreamProblem(text: string, listeningUrl: string | null): string | null {
  const url = parseUpstream(text);
  if (url === null) return notAnUpstream(text);
  const own = listeningUrl === null ? null : parseUpstream(listeningUrl);
  if (own !== null && portOf(own) === portOf(url) && sameMachine(url.hostname, own.hostname)) {
    return `${text} is this node itself`;
  }
  return null;
}

/** The URL in the one form in which it is kept and compared: ASCII, lowercase, without a slash at the end. */
export function canonicalUpstream(url: URL): string {
  return `${url.protocol}//${url.host}`;
}

/**
 * Where a replica can be reached that announces `ws://0.0.0.0:PORT`, all of its addresses: where it comes from.
 * @param peer `HOST:PORT`
 */
export function reachableUrl(announced: string, peer: string): string {
  const url = parseUpstream(announced);
  if (url === null || !isWildcard(url)) return announced;
  const host = peer.slice(0, peer.lastIndexOf(':'));
  return `${url.protocol}//${host.includes(':') ? `[${host}]` : host}:${portOf(url)}`;
}

/** Whether the URL names all addresses of a machine, which only that machine itself can dial. */
export function isWildcard(url: URL): boolean {
  return WILDCARD.has(url.hostname);
}

/** The HTTP address of the node behind a `ws://` URL. */
export function httpUrl(upstream: string): string {
  return upstream.replace(/^ws/, 'http').replace(/\/$/, '');
}

/** The port that the URL names, or the one that its scheme means. */
export function portOf(url: URL): string {
  if (url.port !== '') return url.port;
  return url.protocol === 'wss:' ? '443' : '80';
}

function sameMachine(hostname: string, own: string): boolean {
  return hostname === own || (LOCAL.has(hostname) && (LOCAL.has(own) || WILDCARD.has(own)));
}
