-- Bodies of old tiles may leave for files. Everything that says whether such a file is the right one stays: the tile's header, hash and
-- signature, its place, the tree with its leaf hashes, the signed heads.
ALTER TABLE audit_tiles ALTER COLUMN body DROP NOT NULL; -- null: in the file of the archive that covers its place

-- One row per file, written in the commit of its entry `audit.archived`. Together they cover a tenant's log from its beginning.
CREATE TABLE audit_archives (
  tenant       text   NOT NULL,
  first        bigint NOT NULL, -- index of its first entry
  size         bigint NOT NULL, -- of the signed head that it ends with
  file         text   NOT NULL, -- below the archive folder; its name holds the beginning of its hash, so no other bytes ever replace it
  sha256       text   NOT NULL,
  archive_hash text   NOT NULL, -- over this row and the one before: the newest entry vouches for all rows
  bytes        bigint NOT NULL,
  parts        json   NOT NULL, -- [first index, offset] of each gzip member, so that a tile is read without the rest of its file
  at           bigint NOT NULL,
  emptied_at   bigint NULL,     -- when the last body of it had left
  PRIMARY KEY (tenant, first),
  CHECK (first >= 0 AND size > first)
);
CREATE INDEX audit_archives_full ON audit_archives (tenant, first) WHERE emptied_at IS NULL;
