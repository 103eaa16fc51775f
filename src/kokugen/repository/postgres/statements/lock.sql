-- Waits for whoever has this task locked, then has it locked until the transaction ends. The last column is 1 where this
-- very transaction wrote the row as it is, and 0 also where a savepoint of it did: that one has another xmin.
SELECT t.claim, t.final_claim, t.state, (t.xmin = pg_current_xact_id()::xid)::integer
  FROM kokugen.task t
 WHERE t.namespace = :ns::text AND t.id = :id::text
   FOR UPDATE
