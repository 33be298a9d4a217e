/**
 * The replicas that could take over from this node, and which of them it trusts with that.
 *
 * A replica names itself: any peer with the right `replicate` may announce any URL. So this node hands over, and shows its token, only
 * to a replica that an operator has named, or that has shown the token that this node has itself. A node without tokens, on which
 * everybody may change the roles, trusts every replica. A node that uses TLS hands over to no URL without, and a node that does not let
 * everybody in to no replica that does: there everybody could change what this node receives from then on.
 */
import { type AskPeer, noAccessDetail, type OwnToken } from '../ports/peers.ts';
import type { Session } from '../session/session.ts';
import { refused } from './hand-over.ts';

/** A replica that could take over, as it was when this node chose it: it may announce another URL later. */
export interface Candidate extends Replica {
  /** ID of its process. */
  readonly nodeId: string;
}

interface Replica {
  readonly session: Session;
  /** URL that it announces, `ws://HOST:PORT`. */
  readonly url: string;
}

interface Chooser {
  readonly ask: AskPeer;
  readonly ownToken: OwnToken;
  /** Whether this node does not let everybody in. */
  readonly isGuarded: boolean;
}

/**
 * Asks the replicas under the URLs that they announce.
 * @param sessions of the replicas that are online and have acknowledged something
 * @param to URL of the replica that an operator has named; null: all may take over
 * @returns those that answer there
 * @throws Problem FAILOVER_REFUSED if there is none
 */
export async function candidates(
  { ask, ownToken, isGuarded }: Chooser,
  sessions: readonly Session[],
  to: string | null,
): Promise<readonly Candidate[]> {
  const online = sessions.flatMap((session) => {
    const { url } = session;
    return url === null ? [] : [{ session, url }];
  });
  const named = to === null ? online : online.filter(({ url }) => url === to);
  if (named.length === 0) {
    throw refused(
      to === null || online.length === 0
        ? 'no replica is online'
        : `${to} is no replica of this node that is online; these are: ${urlsOf(online)}`,
    );
  }
  const trusted = trustedOf(named, to !== null, ownToken);
  const peers = await Promise.all(trusted.map(({ url }) => ask(url, true)));
  const present = trusted.flatMap(({ session, url }, index) => {
    const peer = peers[index];
    const { nodeId } = session;
    return typeof peer === 'object' && nodeId !== null && peer?.nodeId === nodeId
      ? [{ session, url, nodeId, openToAll: peer.openToAll === true }]
      : [];
  });
  const targets = present.filter(({ openToAll }) => !isGuarded || !openToAll);
  if (targets.length > 0) return targets.map(({ session, url, nodeId }) => ({ session, url, nodeId }));
  if (present.length > 0) throw refused(opennessOf(urlsOf(present)));
  for (const [index, peer] of peers.entries())
    if (typeof peer === 'string') throw refused(noAccessDetail(trusted[index]?.url as string, peer));
  throw refused(`no replica can be reached from here under the URL that it announces: ${urlsOf(trusted)}`);
}

/** @returns the replicas that this node may hand over to, and show its token @throws Problem FAILOVER_REFUSED if there is none */
function trustedOf(
  replicas: readonly Replica[],
  isNamed: boolean,
  { isSet, needsTls, read }: OwnToken,
): readonly Replica[] {
  const reachable = replicas.filter(({ url }) => !needsTls || url.startsWith('wss:'));
  if (reachable.length === 0) {
    throw refused(
      `this node uses TLS, and hands over to no replica that announces a URL without: ${urlsOf(replicas)}`,
    );
  }
  if (isNamed) return reachable;
  const token = read();
  const trusted = reachable.filter(({ session: { gate } }) =>
    isSet ? token !== null && gate.hasShown(token) : gate.isForAll,
  );
  if (trusted.length > 0) return trusted;
  throw refused(
    'name the replica with "to" (psyncd failover URL): this node hands over to a replica only if you name it, or if it has shown ' +
      `the token that this node has itself (--upstream-token-file); online: ${urlsOf(reachable)}`,
  );
}

function opennessOf(urls: string): string {
  return (
    `this node needs tokens or certificates, and hands over to no replica that lets everybody in: ${urls}; ` +
    'make tokens for that one (psyncd token create), or require certificates there (--tls-client-auth required)'
  );
}

function urlsOf(replicas: readonly Replica[]): string {
  return replicas.map(({ url }) => url).join(', ');
}
