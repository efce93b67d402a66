-- What was active when this snapshot became so: the way back. A rollback does not change it, so two of them go two steps.
ALTER TABLE policy_snapshots ADD COLUMN replaced text NULL;

-- Which stops ended tokens: those of the last hour, over or not.
CREATE INDEX stops_raised ON stops (raised_at);
