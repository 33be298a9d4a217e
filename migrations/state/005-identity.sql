-- Which file psyncd.db was when a run began: its inode, and when it was made, in nanoseconds since 1970. If it is another one
-- now, the folder was copied or restored. Null: not recorded yet; born_ns also where the file system does not tell it.
ALTER TABLE node ADD COLUMN inode TEXT;
ALTER TABLE node ADD COLUMN born_ns TEXT;
