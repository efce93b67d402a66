-- What was active when this snapshot became so: the way back. A rollback does not change it, so two of them go two steps.
ALTER TABLE policy_snapshots ADD COLUMN replaced text NULL;
UPDATE policy_snapshots s SET replaced = (
  SELECT b.digest FROM policy_snapshots b WHERE b.tenant = s.tenant AND b.activated_at < s.activated_at ORDER BY b.activated_at DESC, b.digest LIMIT 1)
WHERE s.activated_at IS NOT NULL;

-- Which stops ended tokens: those of the last hour, over or not.
CREATE INDEX stops_raised ON stops (raised_at);
