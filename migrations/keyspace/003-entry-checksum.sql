-- CRC-32 of key, version, expiry and value (see entry-checksum.ts); null in rows from before there was one.
ALTER TABLE entries ADD COLUMN checksum INTEGER;
