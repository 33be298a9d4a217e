-- CRC-32 of the bytes; null in rows from before there was one.
ALTER TABLE journal ADD COLUMN checksum INTEGER;
