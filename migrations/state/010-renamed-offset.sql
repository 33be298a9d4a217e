-- The offset at which this node stood when its history got its present run ID; null: it has begun with it, or got it with a snapshot.
ALTER TABLE node ADD COLUMN renamed_offset INTEGER;
