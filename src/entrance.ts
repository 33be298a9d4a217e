/**
 * Who may call a node, and how: tokens, signed tokens, certificates, limits and the access log. Parts that only some settings ask for are
 * loaded only then, because most nodes start without them.
 */
import { resolve } from 'node:path';
import { Access } from './access/access.ts';
import type { Jwts } from './access/jwt/jwts.ts';
import { TokenWatch } from './access/tokens/token-watch.ts';
import type { Node } from './node/node.ts';
import { Tally } from './node/ports/counts.ts';
import { messageOf } from './node/ports/failures.ts';
import type { Log } from './node/ports/world.ts';
import { logUnexpected, unattended } from './node/unattended.ts';
import { formatPosition } from './replication/position.ts';
import type { AccessLines } from './runtime/access-lines.ts';
import { systemWorld } from './runtime/system-world.ts';
import type { LiveSettings } from './settings/live.ts';
import { opennessProblem, tokensPath } from './settings/load.ts';
import type { Settings } from './settings/table.ts';
import { noteGuarded, refuseLostTokens } from './store/guard-file.ts';
import { StartError } from './store/start-error.ts';
import type { ListenerTls } from './tls/listener-tls.ts';
import type { AccessLog } from './web/access-log.ts';
import type { ClientLimits } from './web/client-limits.ts';
import type { Proxies } from './web/proxies.ts';

const OPEN_REPLICA =
  'this node shows its master a token or a certificate, and gives what it gets to everybody who reaches it: make tokens for it too';

export interface EntranceParts {
  readonly settings: Settings;
  readonly live: LiveSettings;
  readonly node: Node;
  readonly log: Log;
  /** null: the node speaks plain HTTP. */
  readonly tls: ListenerTls | null;
}

export interface Entrance {
  readonly access: Access;
  readonly tokens: TokenWatch;
  readonly limits: ClientLimits;
  /** null: there is none. */
  readonly accessLog: AccessLog | null;
  /** Where its lines go, for what notes requests elsewhere; null: there is none. */
  readonly lines: AccessLines | null;
  /** Reads all files anew. What cannot be used stays as it was, with a line in the log. */
  reload(): void;
  /** Stops watching the files. */
  stop(): void;
  /** Resolves when the access log is written; to be called when no request is left. */
  close(): Promise<void>;
}

/** @throws StartError if one of the files cannot be used */
export async function openEntrance({ settings, live, node, log, tls }: EntranceParts): Promise<Entrance> {
  const access = new Access(log, settings, systemWorld);
  const logged = (part: string) => (error: unknown) => logUnexpected(log, part, error);
  access.whenGuarded(() => unattended(noteGuarded(resolve(settings.data)), logged('guard')));
  access.whenLost.add(() => node.refuseOver());
  const tokens = await watchedTokens(settings, access, log);
  const jwts = await startedJwts(access, settings, log);
  // The list may have gone since the settings were loaded.
  if (access.isOpen) checkOpenness(settings);
  if (access.exposedUpstream !== null) {
    log.warn('replica-is-open', { detail: OPEN_REPLICA });
  }
  const limits = await limitsOf(settings, access, live.proxies);
  const { lines, accessLog } = await openedAccessLog(settings, { access, node, proxies: live.proxies, log });
  await tls?.start((connection, names) => access.certified.add(connection, names));
  return {
    access,
    tokens,
    limits,
    accessLog,
    lines,
    reload: () => {
      lines?.reopen();
      unattended(Promise.all([tokens.reload(), jwts?.reload()]), logged('tokens'));
      if (tls !== null) unattended(tls.reload(), logged('tls'));
    },
    stop: () => {
      tokens.stop();
      jwts?.stop();
      tls?.stop();
    },
    close: async () => {
      await lines?.close();
    },
  };
}

/** @throws StartError if clients of this node have to need tokens */
function checkOpenness(settings: Settings): void {
  refuseLostTokens(resolve(settings.data), tokensPath(settings));
  const problem = opennessProblem(settings, false);
  if (problem !== null) throw new StartError(problem);
}

/** @throws StartError if there are tokens that cannot be used */
async function watchedTokens(settings: Settings, access: Access, log: Log): Promise<TokenWatch> {
  const path = tokensPath(settings);
  const tokens = new TokenWatch({ path, access, world: systemWorld, log });
  try {
    await tokens.start(settings.tokensFile !== null);
    return tokens;
  } catch (error) {
    throw new StartError(`the tokens in ${path} cannot be used: ${messageOf(error)}`);
  }
}

/** @throws StartError if a setting names a file with keys of signed tokens, and there are none in it */
async function startedJwts(access: Access, settings: Settings, log: Log): Promise<Jwts | null> {
  if (settings.jwtAudience === null) return null;
  const { Jwts } = await import('./access/jwt/jwts.ts');
  try {
    return await Jwts.start({ settings, access, world: systemWorld, log });
  } catch (error) {
    throw new StartError(messageOf(error));
  }
}

/**
 * @returns null: the node speaks plain HTTP
 * @throws StartError that names the setting and the file that cannot be used
 */
export async function listenerTls(settings: Settings, log: Log): Promise<ListenerTls | null> {
  const { tlsCert, tlsKey } = settings;
  if (tlsCert === null || tlsKey === null) return null;
  const { ListenerTls } = await import('./tls/listener-tls.ts');
  try {
    return new ListenerTls({ ...settings, tlsCert, tlsKey }, systemWorld, log);
  } catch (error) {
    throw new StartError(messageOf(error));
  }
}

/** @returns what one client may do at most */
async function limitsOf(settings: Settings, access: Access, proxies: Proxies): Promise<ClientLimits> {
  const { rateLimit, maxConnectionsPerToken, maxFollowersPerToken } = settings;
  if (rateLimit + maxConnectionsPerToken + maxFollowersPerToken === 0) {
    return { refused: new Tally(), requests: null, followers: null };
  }
  const { clientLimits } = await import('./web/client-limits.ts');
  return clientLimits(settings, access, proxies, systemWorld.monotonic);
}

interface AccessLogParts {
  readonly access: Access;
  readonly node: Node;
  readonly proxies: Proxies;
  readonly log: Log;
}

/** The access log and its file; null: there is none. */
interface OpenedAccessLog {
  readonly lines: AccessLines | null;
  readonly accessLog: AccessLog | null;
}

/** @throws StartError if the file cannot be written */
async function openedAccessLog(
  { accessLog: path }: Settings,
  { access, node, proxies, log }: AccessLogParts,
): Promise<OpenedAccessLog> {
  if (path === null) return { lines: null, accessLog: null };
  const [{ openAccessLines }, { AccessLog }] = await Promise.all([
    import('./runtime/access-lines.ts'),
    import('./web/access-log.ts'),
  ]);
  const lines = await openAccessLines(path, log);
  const position = (): string => formatPosition(node.position);
  const { monotonic } = systemWorld;
  return { lines, accessLog: new AccessLog({ lines, access, proxies, position, monotonic }) };
}
