/** The page's copy of the entries, and its way to write them: one of each for the whole page. */
import { indexedDbStorage, mirror } from 'psyncd-client';
import { Client } from 'psyncd-client/full';

// Query: node=http://HOST:PORT (repeat it for further nodes, the master first), prefix=PREFIX.
const query = new URLSearchParams(location.search);
const urls = query.has('node') ? query.getAll('node') : ['http://127.0.0.1:7796'];

export const prefix = query.get('prefix') ?? 'task:';
/** After a reload the page shows what it has stored, and continues from there. */
export const entries = mirror({ urls, prefix, storage: indexedDbStorage(`tasks:${urls[0]}:${prefix}`) });
/** Finds the master among the nodes: a page cannot follow the redirect of a replica to another server. */
export const client = new Client(urls);
