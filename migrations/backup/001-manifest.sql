-- A backup is a keyspace file with this table beside the entries.

-- One row.
CREATE TABLE backup (
  only        INTEGER PRIMARY KEY CHECK (only = 1),
  -- The seal (see seal.ts): SHA-256 of the whole file. It is the first column, so that it is never split between pages.
  sha256      TEXT    NOT NULL,
  -- Of the backup file; a psyncd refuses a higher number than it knows.
  format      INTEGER NOT NULL,
  -- The psyncd that made it.
  version     TEXT    NOT NULL,
  run_id      TEXT    NOT NULL CHECK (length(run_id) = 40),
  "offset"    INTEGER NOT NULL,
  -- The older run IDs of the history, as PSYNC writes them.
  lineage     TEXT    NOT NULL,
  -- Milliseconds since 1970: about when the entries were as they are here.
  commit_time INTEGER NOT NULL,
  keys        INTEGER NOT NULL,
  -- Length of the file.
  bytes       INTEGER NOT NULL,
  -- Digest of the entries, as GET /v1/digest computes it.
  digest      TEXT    NOT NULL,
  -- The history hash at the position, 16 hex digits; null: unknown.
  hash        TEXT
) STRICT;
