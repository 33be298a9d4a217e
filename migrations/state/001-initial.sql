-- psyncd.db: who this node is, and the tail of the stream.

-- One row.
CREATE TABLE node (
  only     INTEGER PRIMARY KEY CHECK (only = 1),
  run_id   TEXT    NOT NULL CHECK (length(run_id) = 40),
  -- The n of the keyspace-<n>.db that is current; 0: the first one has not been made yet.
  keyspace INTEGER NOT NULL,
  -- The master that this node follows, ws://HOST:PORT; null: it is a master.
  upstream TEXT,
  -- 1: everything was written and the process ended as it should.
  clean    INTEGER NOT NULL,
  -- Of the run that wrote last: which boot of the machine, and its fsync policy.
  boot_id  TEXT,
  fsync    TEXT    NOT NULL
) STRICT;

-- The run IDs that the history grew out of; the newest has the highest number.
CREATE TABLE lineage (
  number   INTEGER PRIMARY KEY,
  run_id   TEXT    NOT NULL,
  valid_to INTEGER NOT NULL,
  reason   TEXT    NOT NULL,
  at       INTEGER NOT NULL
) STRICT;

-- One row a turn: the bytes of the stream that end at end_offset. Rows follow each other without a gap.
CREATE TABLE journal (
  end_offset INTEGER PRIMARY KEY,
  bytes      BLOB NOT NULL
) STRICT;
