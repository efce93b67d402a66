-- Open levels of a question for which too few people are left, as the log was told of them: each is told once.
ALTER TABLE approvals ADD COLUMN lacking jsonb; -- {spec, level, at}
