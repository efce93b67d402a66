-- Slack and PagerDuty. Their secrets stay in the environment as those of every channel.
ALTER TABLE channels DROP CONSTRAINT channels_kind_check;
ALTER TABLE channels ADD CONSTRAINT channels_kind_check CHECK (kind IN ('email', 'webhook', 'slack', 'pagerduty'));

-- Who a click in Slack is of. That no two people who may act have the same is seen to by the plan of the directory, under the gate: an
-- index that insists would refuse the file that hands one person's account to another.
ALTER TABLE principals ADD COLUMN slack text NULL;
ALTER TABLE principals ADD CONSTRAINT principals_slack_check CHECK (slack IS NULL OR kind = 'person');
CREATE INDEX principals_by_slack ON principals (slack, tenant) WHERE slack IS NOT NULL;

-- A message that is changed once what it asks is over: where it stands, and what it asks. A recipient 'update:…' names the message it changes.
ALTER TABLE deliveries ADD COLUMN posted jsonb NULL; -- {conversation, ts, grant_hash}
-- What an incident is of, so that its end finds where it was raised.
ALTER TABLE deliveries ADD COLUMN about text NULL;
CREATE INDEX deliveries_by_about ON deliveries (about, tenant) WHERE about IS NOT NULL;

-- Messages go out in the order of the log: of those that were made in one millisecond the ids have none.
DROP INDEX deliveries_waiting;
CREATE INDEX deliveries_waiting ON deliveries (channel, tenant, tree_index, delivery_id) WHERE status = 'pending';

-- Signed requests of chat services that were taken: whoever comes second with the same one finds it here, on whatever node. Kept a
-- little longer than a request is good for.
CREATE TABLE interactions (
  tenant  text   NOT NULL,
  hash    text   NOT NULL, -- sha256 of its signature, hex
  seen_at bigint NOT NULL,
  PRIMARY KEY (tenant, hash)
);
CREATE INDEX interactions_by_age ON interactions (seen_at);
