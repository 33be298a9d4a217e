/** The page's copy of the entries, and its way to write them: one of each for the whole page. */
import { indexedDbStorage, mirror } from 'psyncd-client';
import { Client } from 'psyncd-client/full';

declare global {
  interface ImportMetaEnv {
    /** Vite puts it in. */
    readonly VITE_PSYNCD_NODES?: string;
  }
  interface ImportMeta {
    readonly env: ImportMetaEnv;
  }
}

// Query: prefix=PREFIX. The nodes are chosen when the page is built, because everybody can make a link to the page.
const query = new URLSearchParams(location.search);
const nodes = import.meta.env.VITE_PSYNCD_NODES ?? 'http://127.0.0.1:7796';
const urls = nodes.split(',');

export const prefix = query.get('prefix') ?? 'task:';
/** After a reload the page shows what it has stored, and continues from there. */
export const entries = mirror({ urls, prefix, storage: indexedDbStorage(`tasks:${urls[0]}:${prefix}`) });
/** Finds the master among the nodes: a page cannot follow the redirect of a replica to another server. */
export const client = new Client(urls);
