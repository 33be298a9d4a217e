-- One row, written anew by each transaction that writes this file (see wal-mark.ts).
CREATE TABLE wal_mark (
  only     INTEGER PRIMARY KEY CHECK (only = 1),
  -- A random number.
  mark     INTEGER NOT NULL,
  -- The mark before it; null: there was none.
  previous INTEGER,
  -- CRC-32 of both.
  checksum INTEGER NOT NULL
) STRICT;
