/** What a node tells of itself beside `/v1/replication`, as its routes have it; and how it is told other settings. */
import type { ChildNode } from '../../src/cli/child-node.ts';
import type { BacklogReport } from '../../src/node/head/backlog-keeper.ts';

export interface SessionRecord {
  readonly url?: string;
  readonly open: boolean;
  /** Oldest first. */
  readonly events: readonly SessionEvent[];
}

export interface SessionEvent {
  readonly event: string;
  readonly fields: Readonly<Record<string, string | number>>;
}

/** `/v1/replication/sessions`, newest first. */
export async function sessionsOf(node: ChildNode): Promise<readonly SessionRecord[]> {
  const { sessions } = await answerOf<{ sessions: readonly SessionRecord[] }>(node, 'sessions');
  return sessions;
}

/** `/v1/replication/backlog`. @param query with its `?` */
export function backlogOf(node: ChildNode, query = ''): Promise<BacklogReport> {
  return answerOf(node, `backlog${query}`);
}

async function answerOf<T>(node: ChildNode, path: string): Promise<T> {
  return (await (await fetch(`${node.url}/v1/replication/${path}`)).json()) as T;
}

/** `/v1/info`, by name. */
export async function infoOf(node: ChildNode): Promise<Readonly<Record<string, string>>> {
  const text = await (await fetch(`${node.url}/v1/info`)).text();
  return Object.fromEntries(
    text.split('\r\n').flatMap((line) => {
      const at = line.indexOf(':');
      return at === -1 ? [] : [[line.slice(0, at), line.slice(at + 1)]];
    }),
  );
}

/** `PATCH /v1/config`. */
export function configure(node: ChildNode, settings: object): Promise<Response> {
  return fetch(`${node.url}/v1/config`, {
    method: 'PATCH',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(settings),
  });
}
