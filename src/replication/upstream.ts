/**
 * Rules for the URL of a node, whether it comes from a setting, a request, a peer's answer or a handshake. A node that
 * is reached under another name is recognized later, in the handshake, by its node ID.
 */
const LOCAL: ReadonlySet<string> = new Set(['localhost', '127.0.0.1', '[::1]']);
const WILDCARD: ReadonlySet<string> = new Set(['0.0.0.0', '[::]']);

/** Longest URL of a node, in characters: a DNS name has at most 253, and scheme and port a dozen. */
export const MAX_NODE_URL_LENGTH = 300;
/**
 * Allows only scheme, host, port and one slash. `URL` alone would drop tabs and line ends, accept backslashes, and hide
 * an empty `?` or `#`.
 */
const NODE_URL = /^wss?:\/\/[^\s\\/?#@\p{Cc}]+\/?$/iu;
const PUBLIC_URL = /^(https?):\/\/([^\s\\/?#@]+)((?:\/[\w.~-]+)*\/?)$/i;
/**
 * Matches a DNS name, an IPv4 address, or an IPv6 address in brackets. `URL` also accepts commas, quotes and the like.
 */
const HOST = /^(?:[a-z0-9_](?:[a-z0-9_.-]*[a-z0-9_])?\.?|\[[0-9a-f:.]+\])$/;
const MAX_HOST_LENGTH = 253;
/**
 * Finds a token of psyncd, or a signed one. A node's URL stands where a token may not, and a peer may repeat the token that it was shown as
 * its URL; in a host `URL` makes all letters small.
 */
const TOKEN = /psyncd_[0-9a-z]{8}_[0-9a-z]{8}|(?<!\w)ey[ja][\w-]{13,}\.[\w-]{16}/i;

/** @returns the URL if it is `ws://HOST:PORT` or `wss://HOST:PORT`, with or without a final slash, and holds no token; otherwise null */
export function parseUpstream(text: string): URL | null {
  if (text.length > MAX_NODE_URL_LENGTH || !NODE_URL.test(text) || !URL.canParse(text)) return null;
  const url = new URL(text);
  const isHost = url.hostname.length <= MAX_HOST_LENGTH && HOST.test(url.hostname);
  return isHost && url.port !== '0' && !TOKEN.test(url.hostname) ? url : null;
}

/**
 * @returns the URL if it is `http://HOST:PORT/PATH` or `https://…`, the path optional and in plain characters; without a final slash;
 *   null if it is another one, or holds a token
 */
export function parsePublicUrl(text: string): string | null {
  const match = PUBLIC_URL.exec(text);
  const [, scheme = '', authority = '', path = ''] = match ?? [];
  if (match === null || text.length > MAX_NODE_URL_LENGTH || TOKEN.test(path)) return null;
  const url = parseUpstream(`${scheme.toLowerCase() === 'https' ? 'wss' : 'ws'}://${authority}`);
  // `URL` would remove such parts of the path, and clients do too.
  if (url === null || isWildcard(url) || path.split('/').some((part) => part === '.' || part === '..'))
    return null;
  return `${httpUrl(canonicalUpstream(url))}${path.replace(/\/$/, '')}`;
}

/**
 * States the rule, for a user who gave another URL.
 * @param text shown up to its first 100 characters
 */
export function notAnUpstream(text: string): string {
  const shown = text.length > 100 ? `${text.slice(0, 100)}…` : text;
  return `${JSON.stringify(shown)} is no URL of the form ws://HOST:PORT`;
}

/**
 * @param listeningUrl URL at which this node listens; null: not known yet
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

/** Normalizes a URL for storage and comparison: ASCII, lowercase, no final slash. */
export function canonicalUpstream(url: URL): string {
  return `${url.protocol}//${url.host}`;
}

/**
 * Resolves the URL of a replica that announces all its addresses (`ws://0.0.0.0:PORT`) to the address from which it
 * connects.
 * @param peer `HOST:PORT`
 */
export function reachableUrl(announced: string, peer: string): string {
  const url = parseUpstream(announced);
  if (url === null || !isWildcard(url)) return announced;
  // A socket for both families shows an IPv4 address within an IPv6 one, which no node answers to as a Host.
  const host = peer.slice(0, peer.lastIndexOf(':')).replace(/^::ffff:(?=\d+(?:\.\d+){3}$)/i, '');
  return `${url.protocol}//${host.includes(':') ? `[${host}]` : host}:${portOf(url)}`;
}

/** Whether the URL names all addresses of a machine, which only the machine itself can dial. */
export function isWildcard(url: URL): boolean {
  return WILDCARD.has(url.hostname);
}

/** The HTTP address of the node behind a `ws://` URL. */
export function httpUrl(upstream: string): string {
  return upstream.replace(/^ws/, 'http').replace(/\/$/, '');
}

/** The port in the URL, or the default port of its scheme. */
export function portOf(url: URL): string {
  if (url.port !== '') return url.port;
  return url.protocol === 'wss:' ? '443' : '80';
}

function sameMachine(hostname: string, own: string): boolean {
  return hostname === own || (LOCAL.has(hostname) && (LOCAL.has(own) || WILDCARD.has(own)));
}

/** A replica as its session, its status or an answer has it. */
interface NamedReplica {
  /** Under which it says that other nodes reach it; absent or null: it says none. */
  readonly url?: string | null | undefined;
  /** Address of its connection. */
  readonly peer: string;
}

/** @returns the name of the replica for people, in logs and in metrics: its URL, or the address of its connection */
export function replicaName({ url, peer }: NamedReplica): string {
  return url ?? peer;
}
