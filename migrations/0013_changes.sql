-- Who stands behind a policy: who wrote it, from which commit, and who looked at it before it was stored. Claims of whoever stored it
-- (created_by), kept beside it; what the plane itself knows is in the audit log.
ALTER TABLE policy_snapshots ADD COLUMN author text NULL;
ALTER TABLE policy_snapshots ADD COLUMN source_commit text NULL;
ALTER TABLE policy_snapshots ADD COLUMN reviewers jsonb NOT NULL DEFAULT '[]';
