ALTER TABLE task ADD COLUMN progress text;

-- What a node says that it runs.
ALTER TABLE node ADD COLUMN offers text NOT NULL DEFAULT '';
