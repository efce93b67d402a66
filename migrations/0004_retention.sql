-- What is removed with its job is found by its job. Only effects and sealed results have rows here: a job's own texts are in its row.
CREATE INDEX payloads_by_job ON payloads (job_id, tenant) WHERE job_id IS NOT NULL;

-- A job is written three times and a lease twice, never in place: their indexes say who waits and who lives. That is three dead rows
-- for each job. By default Postgres lets a fifth of a table die before it makes room, at ten million jobs some 5 GB; the dead are in
-- the newest pages, so a pass over few of them is short. Room left in pages (fillfactor 50, 35) was tried: no row was updated in
-- place for it, and the tables were 6 % larger (docs/decisions/0012).
ALTER TABLE jobs SET (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 5000);
ALTER TABLE leases SET (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 5000);
ALTER TABLE audit_tiles SET (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 5000);
