-- 1: this node has handed over to its upstream, and does not know yet whether that has become the master.
ALTER TABLE node ADD COLUMN handing_over INTEGER NOT NULL DEFAULT 0;

-- Keyspace files that a full resync has replaced, and that hold what may be nowhere else; the newest has the highest number.
CREATE TABLE kept (
  -- The n of the keyspace-<n>.db that it was: no two files have the same.
  keyspace INTEGER PRIMARY KEY,
  name     TEXT    NOT NULL,
  run_id   TEXT    NOT NULL CHECK (length(run_id) = 40),
  "offset" INTEGER NOT NULL,
  -- Of the full resync; null: the master did not tell.
  reason   TEXT,
  -- Milliseconds since 1970.
  at       INTEGER NOT NULL
) STRICT;
