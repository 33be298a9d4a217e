-- A search compares whole rows of a table WITHOUT ROWID: each large value that it comes across would be read from its first
-- page to its last, whoever asks for whatever key. So what would not fit into a page with others stands by itself.

-- Values of entries whose key and value have more than 960 bytes together; there the value is empty in `entries`.
CREATE TABLE large_values (
  -- The version of the entry: there is only one with it.
  id    INTEGER PRIMARY KEY,
  value BLOB    NOT NULL
) STRICT;
INSERT INTO large_values SELECT version, value FROM entries WHERE length(CAST(key AS BLOB)) + length(value) > 960;
UPDATE entries SET value = x'' WHERE version IN (SELECT id FROM large_values);

-- What readers read. The size, in bytes, is known without reading the value.
CREATE VIEW whole_entries AS
  SELECT key, version, expires_at, checksum,
    CASE length(value) WHEN 0
      THEN coalesce((SELECT large.value FROM large_values AS large WHERE large.id = version), value)
      ELSE value END AS value,
    CASE length(value) WHEN 0
      THEN coalesce((SELECT length(large.value) FROM large_values AS large WHERE large.id = version), 0)
      ELSE length(value) END AS size
  FROM entries;
