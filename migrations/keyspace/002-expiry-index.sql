-- What is due, in the order in which it is due. Only entries that expire are in it.
CREATE INDEX entries_by_expiry ON entries (expires_at, key) WHERE expires_at IS NOT NULL;
