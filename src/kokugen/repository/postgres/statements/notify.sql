-- A hint to other processes, delivered by the commit.
SELECT pg_notify(:channel::text, :payload::text)
