ALTER TABLE task ADD COLUMN progress text;
