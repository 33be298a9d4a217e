import type { Node } from '../../node/node.ts';

/**
 * Before the body is read: the client sends it to the master instead.
 * @throws Problem READONLY, SHUTTING_DOWN
 */
export function refuseOnReplica(node: Node): void {
  const problem = node.writeProblem;
  if (problem !== null) throw problem;
}
