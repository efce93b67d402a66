-- Several nodes on one database.
-- A writer is fenced before its chain is closed: from that instant no commit of it lands, also of a process that was only frozen.
ALTER TABLE audit_writers ADD COLUMN fenced_at bigint NULL;
