/**
 * What a master's URL may look like, and whether it is this very node. A node that is reached by another name is
 * noticed in the handshake, by its node ID.
 */
const LOCAL: ReadonlySet<string> = new Set(['localhost', '127.0.0.1', '[::1]']);
const WILDCARD: ReadonlySet<string> = new Set(['0.0.0.0', '[::]']);

/** `ws://HOST:PORT` or `wss://HOST:PORT`; the path, if any, is always the stream's. */
export function parseUpstream(text: string): URL | null {
  let url: URL;
  try {
    url = new URL(text);
  } catch {
    return null;
  }
  const plain =
    (url.pathname === '' || url.pathname === '/') &&
    url.search === '' &&
    url.hash === '' &&
    url.username === '' &&
    url.password === '';
  return (url.protocol === 'ws:' || url.protocol === 'wss:') && url.hostname !== '' && plain ? url : null;
}

/**
 * @param listeningUrl where this node listens; null: not known yet
 * @returns what is wrong, or null
 */
export function upstreamProblem(text: string, listeningUrl: string | null): string | null {
  const url = parseUpstream(text);
  if (url === null) return `${JSON.stringify(text)} is no URL of the form ws://HOST:PORT`;
  const own = listeningUrl === null ? null : parseUpstream(listeningUrl);
  if (own !== null && port(own) === port(url) && sameMachine(url.hostname, own.hostname)) {
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
  if (url === null || !WILDCARD.has(url.hostname)) return announced;
  const host = peer.slice(0, peer.lastIndexOf(':'));
  return `${url.protocol}//${host.includes(':') ? `[${host}]` : host}:${port(url)}`;
}

/** The HTTP address of the node behind a `ws://` URL. */
export function httpUrl(upstream: string): string {
  return upstream.replace(/^ws/, 'http').replace(/\/$/, '');
}

function port(url: URL): string {
  if (url.port !== '') return url.port;
  return url.protocol === 'wss:' ? '443' : '80';
}

function sameMachine(hostname: string, own: string): boolean {
  return hostname === own || (LOCAL.has(hostname) && (LOCAL.has(own) || WILDCARD.has(own)));
}
