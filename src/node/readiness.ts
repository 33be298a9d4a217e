/** Whether a node should get requests: what balancers ask `/readyz`. */
import type { Assembly } from './assembly.ts';
import { LOST_FILE } from './ports/failures.ts';
import type { MaxLag } from './ports/max-lag.ts';
import { Problem } from './problem.ts';
import type { Role } from './role/roles.ts';

/** The node that the caller looks for. */
export interface Wanted {
  readonly role: Role | 'any';
  /** null: the node must follow its master now; what it has not applied yet does not count. */
  readonly maxLag: MaxLag | null;
}

export const ANY: Wanted = { role: 'any', maxLag: null };

/**
 * @returns the reason why this node is not the one that the caller looks for; null: it is. A node that stops, or whose files are not in
 *   their places, is never wanted
 */
export function unreadiness(
  { life, roles, state }: Pick<Assembly, 'life' | 'roles' | 'state'>,
  wanted: Wanted,
): Problem | null {
  if (life.stopping) return new Problem('SHUTTING_DOWN', 'the node is shutting down');
  if (state.lost !== null) return new Problem('STORAGE_FAILED', LOST_FILE);
  if (wanted.role !== 'any' && wanted.role !== roles.role) {
    return new Problem('LOADING', `the role of this node is ${roles.role}, not ${wanted.role}`);
  }
  return roles.role === 'master' ? null : behind(roles, wanted.maxLag);
}

function behind(
  { lag, link }: Pick<Assembly['roles'], 'lag' | 'link'>,
  maxLag: MaxLag | null,
): Problem | null {
  const cut = `the link to the master is ${link?.state ?? 'closed'}`;
  if (maxLag === null) return link?.state === 'streaming' ? null : new Problem('LOADING', cut);
  if ('seconds' in maxLag) {
    // A node that was cut off a moment ago is as good as one that is behind by a moment.
    if (lag.seconds === null)
      return new Problem(
        'LOADING',
        `${cut}, and the node has not caught up with this master since it started`,
      );
    if (lag.seconds <= maxLag.seconds) return null;
    return new Problem('LOADING', `the node is up to ${lag.seconds} seconds behind; ${cut}`);
  }
  if (lag.bytes === null)
    return new Problem('LOADING', `${cut}, so nobody knows how many bytes this node lacks`);
  if (lag.bytes <= maxLag.bytes) return null;
  return new Problem('LOADING', `the node lacks ${lag.bytes} bytes that its master has`);
}
