-- What was cancelled after an attempt had failed counts for the breaker of its agent, which looks at the newest ends once a second.
CREATE INDEX jobs_failed_and_cancelled ON jobs (finished_at) WHERE status = 'cancelled' AND state->>'error_code' IS NOT NULL;
