import type { Node } from '../../node/node.ts';

/**
 * Refuses a write on a replica before its body is read, so that the client sends it to the master instead.
 * @throws Problem READONLY or SHUTTING_DOWN
 */
export function refuseOnReplica(node: Node): void {
  const problem = node.writeProblem;
  if (problem !== null) throw problem;
}
