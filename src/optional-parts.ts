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

/**
 * @param node closed if the file cannot be written
 * @returns the file of the access log; null: there is none
 * @throws StartError if it cannot be written
 */
export async function accessLines(
  { accessLog }: Settings,
  log: Log,
  node: Node,
): Promise<AccessLines | null> {
  if (accessLog === null) return null;
  const { openAccessLines } = await import('./runtime/access-lines.ts');
  try {
    return await openAccessLines(accessLog, log);
  } catch (error) {
    await node.close();
    throw error;
  }
}

interface AccessLogParts {
  readonly access: Access;
  readonly node: Node;
  readonly proxies: Proxies;
}

/** @returns what writes the lines; null: there is no file */
export async function accessLogOf(
  lines: AccessLines | null,
  { access, node, proxies }: AccessLogParts,
): Promise<AccessLog | null> {
  if (lines === null) return null;
  const { AccessLog } = await import('./web/access-log.ts');
  const position = (): string => formatPosition(node.position);
  return new AccessLog({ lines, access, proxies, position, monotonic: systemWorld.monotonic });
}
