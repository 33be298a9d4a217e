/** Backs up a running node: a snapshot, and what the node says of its history. */
import type { ReplicationAnswer } from '../../client/rest.ts';
import { messageOf } from '../../node/ports/failures.ts';
import { type Ancestor, ancestorsAt, formatLineage, parseLineage } from '../../replication/history.ts';
import type { Position, RunId } from '../../replication/position.ts';
import type { Manifest } from '../../store/backup/manifest.ts';
import type { Report } from '../../store/backup/seal.ts';
import { sealFile } from '../../store/backup/seal-file.ts';
import { codeOf, isDamage } from '../../store/storage-failure.ts';
import { CommandError } from '../command-error.ts';
import { despiteCuts } from '../cuts.ts';
import { clientOf, type Reach, shownBy } from '../options/node.ts';
import { fromAnswer } from '../output/answer.ts';
import { downloadSnapshot } from './download-snapshot.ts';

/**
 * @param into path of the backup, where no file is
 * @param version of this psyncd
 * @throws CommandError, or an error of the client
 */
export async function backUpNode(
  reach: Reach,
  into: string,
  version: string,
  report: Report,
): Promise<Manifest> {
  const client = await clientOf(reach);
  const shown = await shownBy(reach);
  const { needsTokens, ...snapshot } = await downloadSnapshot(reach.node, shown, into, report);
  // Who shows a token or a certificate has been given it, because the node needs one: older nodes do not say that they do.
  const guarded = needsTokens || shown.token !== undefined || reach.cert !== undefined;
  const answer = await despiteCuts(() => client.replication());
  const lineage = fromAnswer(() => lineageOf(answer, snapshot.position));
  if (lineage === null) {
    throw new CommandError('the node has got another history during the download; make the backup once more');
  }
  try {
    return await sealFile(into, { version, lineage, guarded, ...snapshot }, report);
  } catch (error) {
    if (!isDamage(codeOf(error)) && codeOf(error) !== 'UNKNOWN') throw error;
    throw new CommandError(`the snapshot of ${reach.node} cannot become a backup: ${messageOf(error)}`);
  }
}

/** @returns what the history of the position has grown out of; null: the node is on another history now */
function lineageOf({ runId, lineage }: ReplicationAnswer, position: Position): readonly Ancestor[] | null {
  const parsed = parseLineage(formatLineage(lineage as readonly Ancestor[]));
  if (parsed === null) throw new TypeError('the lineage is none');
  // Beyond the shared part the node has other bytes now: the snapshot is of a history that it has left.
  return ancestorsAt({ runId: runId as RunId, lineage: parsed }, position);
}
