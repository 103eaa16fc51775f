-- The database, and the number of a table in it; none where it is not there.
SELECT current_database()::text, to_regclass(:meta::text)::oid::bigint
