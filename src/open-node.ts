/**
 * Opens a data folder and makes its node.
 *
 * It imports the store first, so that the applier's thread starts early. It imports the other folders (`importRest`) while that
 * thread starts, which takes about as long.
 */
import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { tokenReader } from './access/token-reader.ts';
import { archivePlan, type BeginArchive } from './archive-plan.ts';
import { backupPlan } from './backup-plan.ts';
import { usesTls } from './listeners.ts';
import type { Node } from './node/node.ts';
import { messageOf } from './node/ports/failures.ts';
import type { BackupPlan } from './node/upkeep/backups.ts';
import type { AppLog } from './runtime/app-log.ts';
import type { LoopLag } from './runtime/loop-lag.ts';
import { systemWorld } from './runtime/system-world.ts';
import { LiveSettings } from './settings/live.ts';
import type { Settings } from './settings/table.ts';
import { type FolderSettings, openDataFolder } from './store/data-folder.ts';
import { setAside, upstreamOf } from './store/set-aside.ts';
import { DamageError, StartError } from './store/start-error.ts';
import type { StateFile } from './store/state/state-file.ts';
import { isDamaged } from './store/storage-failure.ts';

/** What is to be kept outside of the data folder. @throws StartError for what is no target */
export async function plansOf(settings: Settings): Promise<{
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

export type Rest = Awaited<ReturnType<typeof importRest>>;

export interface Opened {
  readonly settings: Settings;
  readonly live: LiveSettings;
  readonly node: Node;
  readonly rest: Rest;
  readonly state: StateFile;
}

/** Opens the data folder. With `--on-damage resync` it sets a replica's damaged files aside and begins new ones. */
export async function openNode(
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
  const ownToken = {
    isSet: settings.upstreamTokenFile !== null,
    needsTls: usesTls(settings),
    read: upstreamToken,
  };
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
      dial: rest.dialer(() => live.node.timeoutMs, ownToken, upstreamTls),
      ask: (url, isOurs, asked) =>
        rest.askPeer(url, isOurs || isMaster(url) ? upstreamToken() : null, peerTls, asked),
      ownToken,
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

/** @returns the ID of the machine's present boot; null: the operating system has none */
function bootId(): string | null {
  try {
    return readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
  } catch {
    return null;
  }
}
