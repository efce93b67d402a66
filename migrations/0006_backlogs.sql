-- Topics of which the log says that their queue is backlogged and not yet that it recovered: a change is said once, by whichever node
-- looks. Written right after its entry; a crash in between says it again.
CREATE TABLE backlogs (
  tenant text   NOT NULL,
  topic  text   NOT NULL,
  since  bigint NOT NULL, -- when it was said
  PRIMARY KEY (tenant, topic)
);
