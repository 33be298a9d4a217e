/** Parts of a node that only some settings ask for. They are loaded only then, because most nodes start without them. */
import type { Access } from './access/access.ts';
import type { Node } from './node/node.ts';
import type { Log } from './node/ports/world.ts';
import { formatPosition } from './replication/position.ts';
import type { AccessLines } from './runtime/access-lines.ts';
import { systemWorld } from './runtime/system-world.ts';
import type { Settings } from './settings/table.ts';
import { StartError } from './store/start-error.ts';
import type { ListenerTls } from './tls/listener-tls.ts';
import type { AccessLog } from './web/access-log.ts';
import type { ClientLimits } from './web/client-limits.ts';
import type { Proxies } from './web/proxies.ts';

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
    throw new StartError(error instanceof Error ? error.message : String(error));
  }
}

/** @returns what one client may do at most */
export async function limitsOf(settings: Settings, access: Access, proxies: Proxies): Promise<ClientLimits> {
  const { rateLimit, maxConnectionsPerToken, maxFollowersPerToken } = settings;
  if (rateLimit + maxConnectionsPerToken + maxFollowersPerToken === 0) {
    return { requests: null, followers: null };
  }
  const { clientLimits } = await import('./web/client-limits.ts');
  return clientLimits(settings, access, proxies, systemWorld.monotonic);
}

interface AccessLogParts {
  readonly access: Access;
  /** Closed if the file cannot be written. */
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
export async function accessLogOf(
  { accessLog: path }: Settings,
  { access, node, proxies, log }: AccessLogParts,
): Promise<OpenedAccessLog> {
  if (path === null) return { lines: null, accessLog: null };
  const [{ openAccessLines }, { AccessLog }] = await Promise.all([
    import('./runtime/access-lines.ts'),
    import('./web/access-log.ts'),
  ]);
  try {
    const lines = await openAccessLines(path, log);
    const position = (): string => formatPosition(node.position);
    const { monotonic } = systemWorld;
    return { lines, accessLog: new AccessLog({ lines, access, proxies, position, monotonic }) };
  } catch (error) {
    await node.close();
    throw error;
  }
}
