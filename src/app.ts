/** The composition root: it and open-node.ts are the only places that see every folder. */
import { existsSync } from 'node:fs';
import { resolve } from 'node:path';
import type { Access } from './access/access.ts';
import { type Entrance, listenerTls, openEntrance } from './entrance.ts';
import type { ServerParts } from './http/server.ts';
import type { Servers } from './http/servers.ts';
import { listen, listeningUrl, reachedUrl } from './listeners.ts';
import { Scrapes } from './metrics/scrapes.ts';
import type { MetricsListener, MetricsListenerParts } from './metrics-listener.ts';
import type { Node } from './node/node.ts';
import type { Log } from './node/ports/world.ts';
import { type Opened, openNode, plansOf, type Rest } from './open-node.ts';
import { formatPosition } from './replication/position.ts';
import type { AppLog } from './runtime/app-log.ts';
import { LoopLag } from './runtime/loop-lag.ts';
import { collectWithoutHelp } from './runtime/memory/process-memory.ts';
import { giveBackWhenQuiet } from './runtime/memory/quiet-memory.ts';
import { checkPort } from './runtime/port-check.ts';
import { version } from './runtime/version.ts';
import type { LiveSettings } from './settings/live.ts';
import { tokensPath } from './settings/load.ts';
import type { Settings } from './settings/table.ts';
import { checkUpstream, startNode } from './start-node.ts';
import { refuseLostTokens } from './store/guard-file.ts';
import { startFailure } from './store/storage-failure.ts';
import type { ListenerTls } from './tls/listener-tls.ts';
import { RequestCounts } from './web/record/request-counts.ts';

export interface App {
  readonly node: Node;
  /** `http://HOST:PORT`, or `https://` with TLS. */
  readonly url: string;
  /** The same of the admin listener; null: there is none. */
  readonly adminUrl: string | null;
  /** The same of the listener for metrics; null: there is none. */
  readonly metricsUrl: string | null;
  /** Reads the files of tokens, keys and certificates anew, and opens the access log anew. What cannot be used stays as it was. */
  reloadFiles(): void;
  /** Takes over the settings that may change while the node runs, and logs their names. */
  reload(settings: Settings): void;
  /**
   * Refuses writes, and resolves when the replicas and the archive have everything, or after `shutdownTimeout`. The node answers reads meanwhile.
   * `node.stopWaiting` ends the wait.
   */
  waitForOthers(): Promise<void>;
  /** Takes no more requests, finishes the present ones, and writes everything into the files. */
  close(): Promise<void>;
}

/** Longest time that present requests may take when the node stops, in milliseconds. */
const CLOSE_REQUESTS_MS = 2_000;

/**
 * Starts a node.
 * @param failed called when the node cannot continue; the process should end then, and loses nothing by that
 * @throws StartError, one line, when the data folder or the address cannot be used
 */
export async function start(given: Settings, log: AppLog, failed: (error: Error) => void): Promise<App> {
  // The checks come first, so that a node that cannot start makes no files.
  await checkSettings(given);
  const tls = await listenerTls(given, log);
  const loopLag = new LoopLag(log);
  const path = resolve(given.data);
  const { settings, live, node, rest, state } = await openNode(given, loopLag, log, failed).catch(
    (error: unknown) => {
      throw startFailure(error, path);
    },
  );
  loopLag.start();
  giveBackWhenQuiet();
  const entrance = await openEntrance({ settings, live, node, log, tls }).catch(async (error: unknown) => {
    await node.close();
    throw error;
  });
  const parts = partsOf({ settings, live, node, rest, state }, entrance, { log, loopLag, tls });
  const metricsListener = await listenerForMetrics({ ...parts, settings, live, lines: entrance.lines });
  const server = await rest.Servers.create(parts, {
    admin: settings.adminListen !== null,
    metrics: metricsListener,
  });
  const { port, adminUrl, metricsUrl } = await listen(server, settings, node);
  parts.metrics.name = listeningUrl(settings, port);
  await startNode(node, settings, port).catch(async (error: unknown) => {
    await stop(server, node);
    throw startFailure(error, path);
  });
  collectWithoutHelp();
  log.info('started', {
    position: formatPosition(node.position),
    role: node.role,
    clients: clientsOf(settings, entrance.access),
  });
  return {
    node,
    url: reachedUrl(settings, settings.host, port),
    adminUrl,
    metricsUrl,
    reloadFiles: () => {
      entrance.reload();
      metricsListener?.reload();
    },
    reload: (settings) => {
      reloadSettings(settings, live, log);
      node.settingsChanged();
    },
    waitForOthers: () => node.waitForOthers(),
    close: async () => {
      entrance.stop();
      await stop(server, node);
      await entrance.close();
    },
  };
}

function reloadSettings(settings: Settings, live: LiveSettings, log: Log): void {
  live.reload(settings, (reloaded) => {
    if (reloaded.needRestart.length > 0) log.warn('settings-reloaded', { ...reloaded });
    else log.info('settings-reloaded', { ...reloaded });
  });
}

/** @throws StartError if a port is taken, the upstream or the target of backups or of the archive is none, or the node has lost its tokens or its data */
async function checkSettings(given: Settings): Promise<void> {
  await checkPort(given);
  if (given.adminListen !== null) await checkPort(given.adminListen, '--admin-listen');
  if (given.metricsListen !== null) await checkPort(given.metricsListen, '--metrics-listen');
  checkUpstream(given);
  await plansOf(given);
  if (given.jwtAudience === null && !existsSync(tokensPath(given)))
    refuseLostTokens(given.data, tokensPath(given));
  if (given.archiveTo !== null || given.backupTo !== null) {
    const { refuseLostData } = await import('./lost-data.ts');
    await refuseLostData(given);
  }
}

/** @returns who may call the node, for the log */
function clientsOf({ tlsClientAuth }: Settings, access: Access): string {
  if (!access.isOpen) return 'with tokens';
  return tlsClientAuth === 'required' ? 'with certificates' : 'everybody';
}

/** @returns what the servers are made of */
function partsOf(
  { settings, live, node, rest, state }: Opened,
  entrance: Entrance,
  { log, loopLag, tls }: { readonly log: Log; readonly loopLag: LoopLag; readonly tls: ListenerTls | null },
): ServerParts & { readonly metrics: Scrapes; readonly counts: RequestCounts } {
  const { access, accessLog, limits, tokens } = entrance;
  const counts = new RequestCounts();
  const { cluster } = settings;
  const metrics = new Scrapes({
    version: version(),
    cluster,
    data: resolve(settings.data),
    node,
    requests: counts,
    limited: limits.refused,
    authFailures: access.failures,
    state,
    tls,
    loopLag,
  });
  const upgrade = upgradesOf(node, live, rest, entrance, { counts, log });
  return {
    node,
    counts,
    metrics,
    access,
    accessLog,
    limits,
    tokens,
    log,
    version: version(),
    settings: live,
    upgrade,
    tls,
  };
}

/** @returns null: there is no address for metrics */
async function listenerForMetrics(parts: MetricsListenerParts): Promise<MetricsListener | null> {
  if (parts.settings.metricsListen === null) return null;
  const { MetricsListener } = await import('./metrics-listener.ts');
  return new MetricsListener(parts);
}

/** @returns what takes the requests that want to become WebSockets */
function upgradesOf(
  node: Node,
  live: LiveSettings,
  { acceptWebSockets, answerHeaders }: Pick<Rest, 'acceptWebSockets' | 'answerHeaders'>,
  { access, accessLog, limits }: Entrance,
  records: { readonly counts: RequestCounts; readonly log: Log },
): ReturnType<Rest['acceptWebSockets']> {
  return acceptWebSockets({
    access,
    accessLog,
    limits,
    ...records,
    admission: live,
    headers: (request) => answerHeaders(node, live.allowedOrigins, request.headers),
    accept: (socket, gate) => node.accept(socket, gate),
    admitFollower: (request, gone, client) => node.admitFollower(request, gone, client),
    serveFollower: (request, socket) => node.serveFollower(request, socket),
  });
}

async function stop(server: Servers, node: Node): Promise<void> {
  node.refuseWrites();
  const impatient = setTimeout(() => server.closeAllConnections(), CLOSE_REQUESTS_MS);
  // The node closes the WebSocket connections.
  await Promise.all([server.close(), node.close()]);
  clearTimeout(impatient);
}
