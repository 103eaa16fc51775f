ALTER TABLE task ADD COLUMN progress TEXT;

-- What a node says that it runs.
ALTER TABLE node ADD COLUMN offers TEXT NOT NULL DEFAULT '';
