/** Names of the files in a data folder. */
export const STATE_FILE = 'psyncd.db';
/** The note that the node needs tokens. */
export const GUARD_FILE = 'guarded';
/** A complete new psyncd.db that is about to replace a damaged one. */
export const NEXT_STATE_FILE = 'psyncd-next.db';
/** All files of a node: psyncd sets all of them aside when one is damaged. */
export const NODE_FILE = /^(?:psyncd|keyspace-\d{1,15}|replaced-[\w-]+)\.db(?:-wal|-shm)?$/;
/** Files that SQLite keeps beside psyncd.db. */
export const STATE_COMPANION = /^psyncd\.db-(?:wal|shm)$/;
/** The number is a safe integer. */
export const KEYSPACE_FILE = /^keyspace-(\d{1,15})\.db(-wal|-shm)?$/;
/** A folder of damaged files: `damaged-<ms since 1970>`. */
export const ASIDE_FOLDER = /^damaged-\d+$/;
/** The folder of the copies of keyspace files that clients download. */
export const SNAPSHOTS_FOLDER = 'snapshots';
/** A keyspace file that a full resync has replaced. */
export const REPLACED_FILE = /^replaced-[\w-]+\.db$/;
/** A folder of the files that a restore has replaced: `replaced-<ms since 1970>`. */
export const REPLACED_FOLDER = /^replaced-\d+$/;
/** The folder in which a restore makes the files of the node. */
export const RESTORING_FOLDER = 'restoring';
/** The list of tokens, and the one that is about to replace it. Tokens may be made before the first start. */
export const TOKENS_FILE = /^tokens\.json(?:\.new)?$/;
