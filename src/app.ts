/**
 * The composition root: the only place that sees every folder.
 *
 * It imports the store first, so that the applier's thread starts early. It imports the other folders (`importRest`) while that
 * thread starts, which takes about as long.
 */
import { existsSync, readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import type { Access } from './access/access.ts';
import { tokenReader } from './access/token-reader.ts';
import { archivePlan, type BeginArchive } from './archive-plan.ts';
import { backupPlan } from './backup-plan.ts';
import { type Entrance, listenerTls, openEntrance } from './entrance.ts';
import type { ServerParts } from './http/server.ts';
import type { Servers } from './http/servers.ts';
import { httpUrl, listen, listeningUrl, usesTls } from './listeners.ts';
import { Scrapes } from './metrics/scrapes.ts';
import type { MetricsListener, MetricsListenerParts } from './metrics-listener.ts';
import type { Node } from './node/node.ts';
import { messageOf } from './node/ports/failures.ts';
import type { Log } from './node/ports/world.ts';
import type { BackupPlan } from './node/upkeep/backups.ts';
import { formatPosition } from './replication/position.ts';
import type { AppLog } from './runtime/app-log.ts';
import { LoopLag } from './runtime/loop-lag.ts';
import { checkPort } from './runtime/port-check.ts';
import { collectWithoutHelp } from './runtime/process-memory.ts';
import { giveBackWhenQuiet } from './runtime/quiet-memory.ts';
import { systemWorld } from './runtime/system-world.ts';
import { version } from './runtime/version.ts';
import { LiveSettings } from './settings/live.ts';
import { tokensPath } from './settings/load.ts';
import type { Settings } from './settings/table.ts';
import { checkUpstream, startNode } from './start-node.ts';
import { type FolderSettings, openDataFolder } from './store/data-folder.ts';
import { refuseLostTokens } from './store/guard-file.ts';
import { setAside, upstreamOf } from './store/set-aside.ts';
import { DamageError, StartError } from './store/start-error.ts';
import type { StateFile } from './store/state/state-file.ts';
import { isDamaged, startFailure } from './store/storage-failure.ts';
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
  const { settings, live, node, rest, state } = await open(given, loopLag, log, failed).catch(
    (error: unknown) => {
      throw startFailure(error, path);
    },
  );
  loopLag.start();
  giveBackWhenQuiet();
  const { Servers } = rest;
  const entrance = await openEntrance({ settings, live, node, log, tls }).catch(async (error: unknown) => {
    await node.close();
    throw error;
  });
  const parts = partsOf({ settings, live, node, rest, state }, entrance, { log, loopLag, tls });
  const { counts, metrics } = parts;
  const metricsListener = await listenerForMetrics({
    ...{ settings, live, node, metrics, counts, log },
    lines: entrance.lines,
  });
  const server = await Servers.create(parts, {
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
    url: httpUrl(settings, settings.host, port),
    adminUrl,
    metricsUrl,
    reloadFiles: () => {
      entrance.reload();
      metricsListener?.reload();
    },
    reload: (settings) => {
      live.reload(settings, (reloaded) => {
        if (reloaded.needRestart.length > 0) log.warn('settings-reloaded', { ...reloaded });
        else log.info('settings-reloaded', { ...reloaded });
      });
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

/** @throws StartError if a port is taken, the upstream or the target of backups or of the archive is none, or the node has lost its tokens */
async function checkSettings(given: Settings): Promise<void> {
  await checkPort(given);
  if (given.adminListen !== null) await checkPort(given.adminListen, '--admin-listen');
  if (given.metricsListen !== null) await checkPort(given.metricsListen, '--metrics-listen');
  checkUpstream(given);
  await plansOf(given);
  if (given.jwtAudience === null && !existsSync(tokensPath(given)))
    refuseLostTokens(given.data, tokensPath(given));
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

/** What is to be kept outside of the data folder. @throws StartError for what is no target */
async function plansOf(settings: Settings): Promise<{
  readonly backups: BackupPlan | null;
  readonly beginArchive: BeginArchive | null;
}> {
  return { backups: await backupPlan(settings), beginArchive: await archivePlan(settings) };
}

function folderSettings({ fsync, replicaOf }: Settings): FolderSettings {
  return {
    fsync,
    bootId: bootId(),
    newRunId: systemWorld.newRunId,
    upstream: replicaOf === 'no-one' ? null : replicaOf,
    mayBeginAnew: replicaOf !== null,
  };
}

/** Imports the modules that the start does not need before the folder is open. */
async function importRest() {
  const [node, server, headers, peer, accept, dial, tls] = await Promise.all([
    import('./node/node.ts'),
    import('./http/servers.ts'),
    import('./http/answer-headers.ts'),
    import('./http/ask-peer.ts'),
    import('./ws/accept.ts'),
    import('./ws/dial.ts'),
    import('./tls/upstream-tls.ts'),
  ]);
  return { ...node, ...server, ...headers, ...peer, ...accept, ...dial, ...tls };
}

type Rest = Awaited<ReturnType<typeof importRest>>;

interface Opened {
  readonly settings: Settings;
  readonly live: LiveSettings;
  readonly node: Node;
  readonly rest: Rest;
  readonly state: StateFile;
}

/** Opens the data folder. With `--on-damage resync` it sets a replica's damaged files aside and begins new ones. */
async function open(
  settings: Settings,
  loopLag: LoopLag,
  log: AppLog,
  failed: (error: Error) => void,
): Promise<Opened> {
  try {
    return await openOnce(settings, loopLag, log, failed);
  } catch (error) {
    const path = resolve(settings.data);
    if (!(error instanceof DamageError) || settings.onDamage !== 'resync') throw error;
    const replicaOf = settings.replicaOf ?? upstreamOf(path);
    if (replicaOf === null || replicaOf === 'no-one') {
      throw new StartError(
        `${error.message} (--on-damage resync is for replicas; if this was one, add --replica-of ws://HOST:PORT)`,
      );
    }
    const again = { ...settings, replicaOf };
    const aside = await setAside(path, folderSettings(again));
    log.error('damaged-files-set-aside', { error: error.message, aside });
    return await openOnce(again, loopLag, log, failed);
  }
}

async function openOnce(
  settings: Settings,
  loopLag: LoopLag,
  log: AppLog,
  failed: (error: Error) => void,
): Promise<Opened> {
  const path = resolve(settings.data);
  let node: Node | null = null;
  const broken = (error: Error): void => {
    const resyncs = error instanceof DamageError && settings.onDamage === 'resync';
    if (resyncs && node?.startOver() === true) log.error('keyspace-damaged', { error: error.message });
    else failed(error);
  };
  const opening = openDataFolder(path, log, folderSettings(settings), broken);
  // The import begins in the next turn of the event loop, after `openDataFolder` has started the applier's thread.
  const importing = new Promise<void>((resolve) => systemWorld.soon(resolve)).then(importRest);
  const [folder, rest, plans] = await Promise.all([opening, importing, plansOf(settings)]);
  const live = new LiveSettings(settings, loopLag, folder.state, (level) => log.setLevel(level));
  const upstreamToken = tokenReader(settings.upstreamTokenFile, log);
  const upstreamTls = new rest.UpstreamTls(settings, systemWorld, log);
  const peerTls = (): ReturnType<typeof upstreamTls.options> => upstreamTls.options();
  const isMaster = (url: string): boolean => url === node?.status.upstream?.url;
  try {
    const { copies, state, keyspace, files } = folder;
    node = new rest.Node({
      world: systemWorld,
      log,
      settings: live.node,
      state,
      keyspace,
      files,
      copies,
      dial: rest.dialer(() => live.node.timeoutMs, upstreamToken, upstreamTls),
      ask: (url, isOurs, asked) =>
        rest.askPeer(url, isOurs || isMaster(url) ? upstreamToken() : null, peerTls, asked),
      ownToken: {
        isSet: settings.upstreamTokenFile !== null,
        needsTls: usesTls(settings),
        read: upstreamToken,
      },
      askDigest: (url, position, timeoutMs, gone) =>
        // The token is for the master, not for any other node that somebody wants to compare this one with.
        rest.askDigest(url, position, timeoutMs, gone, isMaster(url) ? upstreamToken() : null, peerTls),
      backups: plans.backups,
      failed: broken,
    });
    plans.beginArchive?.(node, log);
    await folder.settle();
    return { settings, live, node, rest, state };
  } catch (error) {
    await node?.stream.close();
    await folder.close();
    throw isDamaged(error)
      ? new DamageError(`${path} is damaged: ${messageOf(error)}; nothing was changed`)
      : error;
  }
}

async function stop(server: Servers, node: Node): Promise<void> {
  node.refuseWrites();
  const impatient = setTimeout(() => server.closeAllConnections(), CLOSE_REQUESTS_MS);
  // The node closes the WebSocket connections.
  await Promise.all([server.close(), node.close()]);
  clearTimeout(impatient);
}

/** @returns the ID of the machine's present boot; null: the operating system has none */
function bootId(): string | null {
  try {
    return readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
  } catch {
    return null;
  }
}
