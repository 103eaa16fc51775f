-- Waits for whoever has this task locked, then has it locked until the transaction ends.
SELECT t.claim, t.final_claim, t.state FROM kokugen.task t WHERE t.namespace = :ns::text AND t.id = :id::text FOR UPDATE
