-- CRC-32 over what this file says of the node: this row, the lineage and the kept files; null in a file from before there was one.
ALTER TABLE node ADD COLUMN checksum INTEGER;
