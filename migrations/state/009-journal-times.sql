-- When the stream had come how far (see src/node/head/time-marks.ts): the bytes after start_offset, up to the next row, were
-- committed at from_ms or later, and before to_ms, in milliseconds since 1970 on the clock of this node.
CREATE TABLE journal_times (
  start_offset INTEGER PRIMARY KEY,
  from_ms      INTEGER NOT NULL,
  to_ms        INTEGER NOT NULL,
  -- CRC-32 of the three.
  checksum     INTEGER NOT NULL
) STRICT;
