-- The random name that the store was given when it was made.
SELECT value FROM kokugen.meta WHERE key = 'cluster_id'
