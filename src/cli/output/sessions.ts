/** Formats the sessions of replicas for people. */
import type { SessionsAnswer } from '../../client/admin/answers.ts';
import { replicaName } from '../../replication/upstream.ts';
import { told } from './answer.ts';

type SessionRecord = SessionsAnswer['sessions'][number];

/** @returns a line for the session, and one for each of its events */
export function sessionLines({ id, peer, url, open, events }: SessionRecord): readonly string[] {
  return [told`#${id} ${replicaName({ url, peer })}  ${open ? 'open' : 'ended'}`, ...events.map(eventLine)];
}

function eventLine({ at, event, fields }: SessionRecord['events'][number]): string {
  const facts = Object.entries(fields).map(([name, value]) => `${name}=${value}`);
  return `  ${new Date(at).toISOString()}  ${[event, ...facts].join(' ')}`;
}
