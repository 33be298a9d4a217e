/** The page's copy of the entries, and its way to write them: one of each for the whole page. */
import { Client, indexedDbStorage, mirror } from 'psyncd/client';

// Query: node=http://HOST:PORT (repeat it for further nodes), prefix=PREFIX.
const query = new URLSearchParams(location.search);
const urls = query.has('node') ? query.getAll('node') : ['http://127.0.0.1:7796'];

export const prefix = query.get('prefix') ?? 'task:';
/** After a reload the page shows what it has stored, and continues from there. */
export const entries = mirror({ urls, prefix, storage: indexedDbStorage(`tasks:${urls[0]}:${prefix}`) });
/** A replica sends writes on to its master. */
export const client = new Client(urls[0] as string);
