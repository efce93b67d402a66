-- Who was asked a question and did not answer is asked once more, level by level.
ALTER TABLE approvals ADD COLUMN reminders jsonb NOT NULL DEFAULT '[]'; -- {spec, level, at}

-- Dead letters whose answer is due and of which nobody was told yet. Both stand in the state of the job, where most jobs have neither.
CREATE INDEX jobs_unanswered ON jobs (((state->>'respond_by')::bigint))
  WHERE status = 'dead_letter' AND state->>'respond_by' IS NOT NULL AND state->>'reminded_at' IS NULL;

-- What is removed beside jobs is found by when it was over.
CREATE INDEX grants_ended ON grants ((least(expires_at, revoked_at)));
CREATE INDEX stops_ended ON stops (ended_at) WHERE ended_at IS NOT NULL;
CREATE INDEX absences_past ON absences (until_at);
CREATE INDEX keys_of_sessions_ending ON keys (expires_at) WHERE session IS NOT NULL;
