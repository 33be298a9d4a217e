-- CRC-32 of run ID and offset (see keyspace-schema.ts). The rows of before get theirs in the transaction of this migration.
ALTER TABLE position ADD COLUMN checksum INTEGER;
