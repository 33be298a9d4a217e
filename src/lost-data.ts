/**
 * Refuses an empty master where a target of backups or of an archive has what nodes of its cluster have written. Whoever starts such a
 * master has usually lost the data folder, and often the list of tokens with it: clients would write into the emptiness, replicas
 * would take over that history, and a restore of the present time would give it.
 *
 * Only a start without data asks the target, and it waits for an answer: a node that serves nothing yet loses nothing by that.
 */
import { existsSync } from 'node:fs';
import { resolve } from 'node:path';
import { guardedCluster, guardName, parseArchived } from './archive/names.ts';
import { targetOf } from './backup-plan.ts';
import type { BackupTarget } from './node/ports/backup-target.ts';
import { messageOf } from './node/ports/failures.ts';
import { clusterFolder, type NamedBackup, namedBackup } from './node/upkeep/backup-names.ts';
import { Calls } from './node/upkeep/backup-run.ts';
import { tokensPath } from './settings/load.ts';
import type { Settings } from './settings/table.ts';
import { beginsAnew } from './store/set-aside.ts';
import { StartError } from './store/start-error.ts';

/** Longest time for which a start without data waits until the targets have told what they have, in milliseconds. */
const ANSWER_WITHIN_MS = 10_000;
/** A path or URL of these characters alone is one word for a shell. */
const PLAIN_WORD = /^[\w@%+=:,./-]+$/;

/** Where a node puts what it is to find again, as its user has named it. */
interface NamedTarget {
  readonly flag: '--archive-to' | '--backup-to';
  readonly text: string;
}

/** What a target has of a cluster, as far as it was listed. */
interface Holdings {
  /** Whether all of it was listed. */
  isWhole: boolean;
  newest: NamedBackup | null;
  hasSegments: boolean;
  isGuarded: boolean;
}

interface Asking {
  readonly withinMs?: number;
  readonly open?: (flag: string, text: string, data: string) => Promise<BackupTarget>;
}

/**
 * @param settings of a node that is about to start
 * @throws StartError, one line, if it would begin as a master without data, and a target of its settings has data of its cluster or does not
 *   say whether it has some; also if it would begin as an open replica of a cluster whose nodes need tokens, as a target says
 */
export async function refuseLostData(settings: Settings, asking: Asking = {}): Promise<void> {
  const { data, replicaOf } = settings;
  if (!beginsAnew(resolve(data))) return;
  if (replicaOf === null || replicaOf === 'no-one') {
    for (const target of targetsIn(settings)) await refuseHeld(target, settings, asking);
  } else if (isOpenUnasked(settings)) {
    for (const target of targetsIn(settings)) await refuseGuarded(target, settings, asking);
  }
}

/** Whether everybody would be let in, and nobody has said so. */
function isOpenUnasked(settings: Settings): boolean {
  const { allowAnonymous, jwtAudience, tlsClientAuth } = settings;
  if (allowAnonymous || jwtAudience !== null || tlsClientAuth === 'required') return false;
  return !existsSync(tokensPath(settings));
}

/**
 * Refuses an open replica without data in a cluster whose nodes need tokens. A target that does not answer prevents no replica: its master
 * has the data, and the node warns that it is open.
 */
async function refuseGuarded(named: NamedTarget, settings: Settings, asking: Asking): Promise<void> {
  const folder = clusterFolder(settings.cluster);
  const name = guardName(folder);
  const target = await (asking.open ?? targetOf)(named.flag, named.text, settings.data);
  const found = await within(asking, (signal) => target.find(name, { signal })).catch(() => null);
  if (found === null) return;
  throw new StartError(
    `the nodes of the cluster ${folder} need tokens, because ${target.shown} (${named.flag}) has ${name}, and there is no ${tokensPath(settings)}: ` +
      'put it there from a copy, or make a list with psyncd token create; --allow-anonymous says that everybody may do everything on this replica',
  );
}

/** @throws what the work throws, or Error if it has not ended in time */
async function within<T>(
  { withinMs = ANSWER_WITHIN_MS }: Asking,
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const limit = new AbortController();
  const late = new Error(`it has not answered within ${withinMs / 1_000} s`);
  const timer = setTimeout(() => limit.abort(late), withinMs);
  try {
    return await new Calls().wait(work(limit.signal), limit.signal);
  } finally {
    clearTimeout(timer);
  }
}

function targetsIn({ archiveTo, backupTo }: Settings): readonly NamedTarget[] {
  const found: NamedTarget[] = [];
  if (archiveTo !== null) found.push({ flag: '--archive-to', text: archiveTo });
  if (backupTo !== null && backupTo !== archiveTo) found.push({ flag: '--backup-to', text: backupTo });
  return found;
}

async function refuseHeld(named: NamedTarget, settings: Settings, asking: Asking): Promise<void> {
  const data = resolve(settings.data);
  const target = await (asking.open ?? targetOf)(named.flag, named.text, data);
  const folder = clusterFolder(settings.cluster);
  const held: Holdings = { isWhole: false, newest: null, hasSegments: false, isGuarded: false };
  try {
    await within(asking, (signal) => list(target, folder, held, signal));
  } catch (error) {
    // What was listed until then is enough to refuse.
    if (!isEmpty(held)) throw refusal(named, target, settings, held);
    throw new StartError(
      `there is no data in ${data}, and ${target.shown} (${named.flag}) cannot be asked whether it has some of this node: ` +
        `${messageOf(error)}; a node without data begins as a master only if it has none (or, if you know that, leave ${named.flag} out of the first start)`,
    );
  }
  if (!isEmpty(held)) throw refusal(named, target, settings, held);
}

function isEmpty({ newest, hasSegments, isGuarded }: Holdings): boolean {
  return newest === null && !hasSegments && !isGuarded;
}

/** @param held gets what is found */
async function list(
  target: BackupTarget,
  folder: string,
  held: Holdings,
  signal: AbortSignal,
): Promise<void> {
  for await (const object of target.list(folder, { signal })) {
    const backup = namedBackup(object);
    if (backup !== null && (held.newest === null || backup.time >= held.newest.time)) held.newest = backup;
    held.hasSegments ||= parseArchived(object.name)?.kind === 'segment';
    held.isGuarded ||= guardedCluster(object.name) !== undefined;
  }
  held.isWhole = true;
}

function refusal(
  named: NamedTarget,
  { shown }: BackupTarget,
  settings: Settings,
  held: Holdings,
): StartError {
  const { newest } = held;
  const data = resolve(settings.data);
  const folder = clusterFolder(settings.cluster);
  const tokens = resolve(tokensPath(settings));
  const lacksTokens = held.isGuarded && settings.jwtAudience === null && !existsSync(tokens);
  const which = held.isWhole ? 'with the newest backup' : 'such as the backup';
  const newestText = newest === null ? '' : `, ${which} ${newest.name}`;
  const command = newest === null ? null : restoreCommand(named.text, data, folder, held, newest);
  return new StartError(
    `there is no data in ${data}, but ${shown} (${named.flag}) has some of its cluster ${folder}${newestText}: ` +
      'no empty master begins beside it. If another node has the data, add --replica-of ws://HOST:PORT; ' +
      (command === null ? '' : `to bring back what the target has: ${command}; `) +
      'to begin anew, choose another --cluster or another target' +
      (lacksTokens ? `. Its nodes need tokens: first put a copy of the list back (${tokens})` : ''),
  );
}

/** @returns the command that brings back the newest that the target has; null: which backup that is was not listed */
function restoreCommand(
  text: string,
  data: string,
  folder: string,
  { hasSegments, isWhole }: Holdings,
  newest: NamedBackup,
): string | null {
  const place = /^[a-z][a-z\d+.-]*:/i.test(text) ? text.replace(/\/+$/, '') : resolve(text);
  if (!hasSegments && !isWhole) return null;
  if (!hasSegments) return `psyncd restore ${word(`${place}/${newest.name}`)} ${word(data)}`;
  // A second that has not ended: the name of a backup stands for all of its second.
  const now = new Date(Math.ceil(Date.now() / 1_000) * 1_000).toISOString().replace('.000', '');
  return `psyncd restore ${word(place)} ${word(data)} --cluster ${word(folder)} --to-time ${now}`;
}

function word(text: string): string {
  return PLAIN_WORD.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}
