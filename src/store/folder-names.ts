/** The names of what is in a data folder. */
export const STATE_FILE = 'psyncd.db';
/** A new psyncd.db, complete, that is about to take the place of a damaged one. */
export const NEXT_STATE_FILE = 'psyncd-next.db';
/** What is a node's own: all of it is set aside when it is damaged. */
export const NODE_FILE = /^(?:psyncd|keyspace-\d+|replaced-[\w-]+)\.db(?:-wal|-shm)?$/;
/** What SQLite has of psyncd.db beside it. */
export const STATE_COMPANION = /^psyncd\.db-(?:wal|shm)$/;
export const KEYSPACE_FILE = /^keyspace-(\d{1,9})\.db(-wal|-shm)?$/;
/** A folder with files that were damaged: `damaged-<ms since 1970>`. */
export const ASIDE_FOLDER = /^damaged-\d+$/;
/** What a full resync has replaced. */
export const REPLACED_FILE = /^replaced-[\w-]+\.db$/;
