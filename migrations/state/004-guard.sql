-- The history of the empty master that this node has refused to be wiped by; null: none, or it was accepted.
ALTER TABLE node ADD COLUMN guarded_against TEXT;
