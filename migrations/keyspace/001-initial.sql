-- keyspace-<n>.db: the entries, and the position up to which the stream is applied to them.

-- One row.
CREATE TABLE position (
  only   INTEGER PRIMARY KEY CHECK (only = 1),
  run_id TEXT    NOT NULL CHECK (length(run_id) = 40),
  "offset" INTEGER NOT NULL
) STRICT;

CREATE TABLE entries (
  -- Compared by its UTF-8 bytes.
  key        TEXT    PRIMARY KEY,
  value      BLOB    NOT NULL,
  -- The offset of the end of the command that last set it.
  version    INTEGER NOT NULL,
  -- Milliseconds since 1970; null: never.
  expires_at INTEGER
) STRICT, WITHOUT ROWID;
