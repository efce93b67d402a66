-- Windowed numbers are computed from rows. Ids sort by time, so leases, decisions and approvals of a window are a range of their
-- primary keys; only the end of a job is in no id. Partial and without the id, so no look-up by id is ever planned over it; one
-- entry per finished job, always at the right edge.
CREATE INDEX jobs_finished ON jobs (tenant, finished_at) WHERE finished_at IS NOT NULL;
