-- Who is told of what, and what became of it. A channel's secrets are never here: its settings name an environment variable.
CREATE TABLE channels (
  tenant     text   NOT NULL,
  channel    text   NOT NULL,
  kind       text   NOT NULL CHECK (kind IN ('email', 'webhook')),
  settings   jsonb  NOT NULL,
  events     jsonb  NOT NULL, -- kinds of audit entries
  topics     jsonb  NULL,     -- patterns; null: any
  teams      jsonb  NULL,     -- owners of the agent an entry speaks of; null: any
  source     text   NOT NULL CHECK (source IN ('file', 'api')),
  created_at bigint NOT NULL, -- nothing older is told
  updated_at bigint NOT NULL,
  updated_by text   NOT NULL,
  PRIMARY KEY (tenant, channel)
);

-- How a channel fares, as the deliverer sees it. Apart from its settings, which only people change.
CREATE TABLE channel_health (
  tenant     text   NOT NULL,
  channel    text   NOT NULL,
  failures   int    NOT NULL, -- in a row
  next_at    bigint NOT NULL, -- not tried before
  down_at    bigint NULL,     -- since when the log says that it is down
  error      text   NULL,
  tried_at   bigint NOT NULL,
  sent_at    bigint NULL,     -- the last that was taken
  PRIMARY KEY (tenant, channel)
);

-- How far each tenant's log was looked at for something to tell.
CREATE TABLE notified (
  tenant text   NOT NULL PRIMARY KEY,
  next   bigint NOT NULL CHECK (next >= 0) -- tree index of the entry to look at next
);

-- One message to one recipient. Made from a signed entry, once whatever happens in between: see deliveries_once.
CREATE TABLE deliveries (
  tenant      text   NOT NULL,
  delivery_id text   NOT NULL,
  channel     text   NOT NULL,
  tree_index  bigint NOT NULL, -- of the entry
  recipient   text   NOT NULL, -- 'principal:…' by name, 'mailto:…', or 'endpoint'
  asks        boolean NOT NULL, -- it puts the approval's question
  event       text   NOT NULL,
  entry       text   NOT NULL, -- its line: the log's own may be in a file by the time a dead channel answers again
  approval_id text   NULL,
  status      text   NOT NULL CHECK (status IN ('pending', 'sent', 'dead', 'dropped')),
  attempts    int    NOT NULL, -- that were this message's own fault or success; a channel that is down uses none up
  next_at     bigint NOT NULL,
  since_at    bigint NOT NULL, -- from then it has a day
  error       text   NULL,
  created_at  bigint NOT NULL,
  finished_at bigint NULL,
  PRIMARY KEY (tenant, delivery_id),
  CHECK ((status = 'pending') = (finished_at IS NULL))
);
CREATE UNIQUE INDEX deliveries_once ON deliveries (tenant, tree_index, channel, recipient);
CREATE INDEX deliveries_waiting ON deliveries (channel, tenant, delivery_id) WHERE status = 'pending';
CREATE INDEX deliveries_by_approval ON deliveries (approval_id, tenant) WHERE approval_id IS NOT NULL;
CREATE INDEX deliveries_by_status ON deliveries (status, tenant, delivery_id);
CREATE INDEX deliveries_finished ON deliveries (finished_at) WHERE finished_at IS NOT NULL;

-- One-time links of approval mails. A row is never changed: that it was used is an answer of the approval that names it, in the same
-- commit by construction; that it is stale or closed is the approval's own state.
CREATE TABLE links (
  tenant      text   NOT NULL,
  link_id     text   NOT NULL,
  hash        text   NOT NULL, -- sha256 of the secret part, hex
  approval_id text   NOT NULL,
  grant_hash  text   NOT NULL,
  principal   text   NOT NULL,
  delivery_id text   NOT NULL,
  created_at  bigint NOT NULL,
  expires_at  bigint NOT NULL,
  PRIMARY KEY (tenant, link_id)
);
-- A presented link names only its id; the tenant comes from the row.
CREATE UNIQUE INDEX links_by_id ON links (link_id);
CREATE INDEX links_ending ON links (expires_at);
