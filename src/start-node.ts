/** Connects a node that starts, and refuses a `--replica-of` that it cannot follow. */
import { listeningUrl } from './listeners.ts';
import type { Node } from './node/node.ts';
import { Problem } from './node/problem.ts';
import { upstreamProblem } from './replication/upstream.ts';
import type { Settings } from './settings/table.ts';
import { StartError } from './store/start-error.ts';

/** What to do about a flag that was right before a hand-over or a promotion. */
const REMEMBERS = '; leave --replica-of (PSYNCD_REPLICA_OF) out: the node remembers its role';

/** @throws StartError if the node may not follow the master of `--replica-of` */
export async function startNode(node: Node, settings: Settings, port: number): Promise<void> {
  const { announceUrl, publicUrl, replicaOf } = settings;
  try {
    await node.start(listeningUrl(settings, port), replicaOf, { announced: announceUrl, public: publicUrl });
  } catch (error) {
    if (error instanceof Problem) {
      const remedy = error.code === 'CIRCLE' ? REMEMBERS : '';
      throw new StartError(`--replica-of: ${error.message}${remedy}`);
    }
    throw error;
  }
}

/** @throws StartError if `--replica-of` names this node itself, or a URL that no master can have */
export function checkUpstream(settings: Settings): void {
  const { port, replicaOf } = settings;
  if (replicaOf === null || replicaOf === 'no-one') return;
  const problem = upstreamProblem(
    replicaOf,
    port === 0 ? settings.announceUrl : listeningUrl(settings, port),
  );
  if (problem !== null) throw new StartError(`--replica-of: ${problem}`);
}
