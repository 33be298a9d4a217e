-- The history hash before the row, as a signed integer; null: unknown, in rows from before there was one too.
ALTER TABLE journal ADD COLUMN hash_before INTEGER;
-- 1: that hash does not follow from the rows before: a chain of hashes begins here. Null: it does.
ALTER TABLE journal ADD COLUMN begins_chain INTEGER;
CREATE INDEX journal_chains ON journal (end_offset) WHERE begins_chain = 1;

-- Where the master has told the history hash last, with a snapshot or when this node could continue, and which; null: unknown.
-- It counts as long as nothing was written since.
ALTER TABLE node ADD COLUMN told_offset INTEGER;
ALTER TABLE node ADD COLUMN told_hash INTEGER;
