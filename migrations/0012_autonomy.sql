-- How far an agent is trusted to act by itself. The door reads stage, spot_check and asks, so a change of these moves the gate; agents
-- without a row are not managed: policy alone decides.
CREATE TABLE autonomy (
  tenant      text   NOT NULL,
  agent       text   NOT NULL,
  stage       text   NOT NULL CHECK (stage IN ('shadow', 'advisor', 'supervised', 'assisted', 'autonomous')),
  since       bigint NOT NULL,
  spot_check  int    NOT NULL CHECK (spot_check BETWEEN 0 AND 100), -- percent of what would run in `assisted` that a person sees first
  least       int    NOT NULL, -- bounds of spot_check that a person declared: nothing moves it outside
  most        int    NOT NULL,
  moved_at    bigint NULL,     -- when reviewer load last moved it
  asks        jsonb  NOT NULL, -- who is asked: words as in `approval: {from}`
  proposal    jsonb  NULL,     -- {to, by, at, note}: a promotion that another person has to confirm
  alerted_at  bigint NULL,     -- when a low approval rate was last told
  offered_at  bigint NULL,     -- when it was told that the next stage is earned
  updated_at  bigint NOT NULL,
  updated_by  text   NOT NULL,
  PRIMARY KEY (tenant, agent),
  CHECK (least >= 0 AND least <= most AND most <= 100)
);

-- Bounded workflows of the policy that a person opened: jobs of one that is not open are denied, so opening and closing move the gate.
CREATE TABLE workflows (
  tenant    text   NOT NULL,
  workflow  text   NOT NULL,
  opened_at bigint NOT NULL,
  opened_by text   NOT NULL,
  stable_at bigint NULL, -- ran well for a week
  closed_at bigint NULL,
  closed_by text   NULL,
  PRIMARY KEY (tenant, workflow)
);
