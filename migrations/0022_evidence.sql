-- What gates of rollouts said, and what they said it by. Evidence is never changed: a promotion points at it by its hash.
CREATE TABLE gate_evidence (
  tenant        text   NOT NULL,
  evidence_hash text   NOT NULL,
  rollout_id    text   NOT NULL,
  declaration   text   NOT NULL,
  phase         int    NOT NULL,
  form          text   NOT NULL CHECK (form IN ('gate', 'launch')),
  outcome       text   NOT NULL CHECK (outcome IN ('pass', 'fail', 'inconclusive', 'error')),
  evaluated_at  bigint NOT NULL,
  reviewed_by   jsonb  NOT NULL,
  text          text   NOT NULL, -- canonical JSON, of which hash and signature are made
  signature     text   NOT NULL,
  public_key    text   NOT NULL,
  PRIMARY KEY (tenant, evidence_hash)
);
CREATE INDEX gate_evidence_of ON gate_evidence (tenant, rollout_id, evaluated_at, evidence_hash);
CREATE INDEX gate_evidence_old ON gate_evidence (evaluated_at);

-- Every look at a gate: a line, where the evidence would be 30 kB.
CREATE TABLE gate_looks (
  tenant     text    NOT NULL,
  rollout_id text    NOT NULL,
  to_at      bigint  NOT NULL,
  from_at    bigint  NOT NULL,
  clean      boolean NOT NULL,
  at         bigint  NOT NULL,
  PRIMARY KEY (tenant, rollout_id, to_at, clean) -- of two looks at one window, one of which was not clean, both stand
);
CREATE INDEX gate_looks_unclean ON gate_looks (tenant, rollout_id, to_at) WHERE NOT clean;
CREATE INDEX gate_looks_unclean_since ON gate_looks (tenant, rollout_id, at) WHERE NOT clean;
CREATE INDEX gate_looks_old ON gate_looks (at);

-- What was seen of a trigger. A look that saw nothing leaves no row: it adds nothing, and its absence is what makes a trigger blind.
CREATE TABLE trigger_looks (
  tenant           text             NOT NULL,
  rollout_id       text             NOT NULL,
  trigger          text             NOT NULL,
  at               bigint           NOT NULL,
  value            double precision NOT NULL,
  samples          bigint           NOT NULL,
  baseline         double precision NULL,
  baseline_samples bigint           NOT NULL,
  PRIMARY KEY (tenant, rollout_id, trigger, at)
);
CREATE INDEX trigger_looks_old ON trigger_looks (at);

-- How the watching stands, so that whoever goes on with it after a crash does what this one would have done.
CREATE TABLE rollout_watches (
  tenant     text   NOT NULL,
  rollout_id text   NOT NULL,
  watched_at bigint NULL,                  -- when its triggers were last looked at
  blind      jsonb  NOT NULL DEFAULT '{}', -- trigger → since when nothing was seen, and whether that was said
  breaching  jsonb  NOT NULL DEFAULT '[]', -- triggers that see too much, though not for long enough yet
  gate_at    bigint NOT NULL DEFAULT 0,    -- the gate is not asked before
  PRIMARY KEY (tenant, rollout_id)
);

-- Words of people about a rollout: signatures under a phase, and what a week was like.
CREATE TABLE rollout_reviews (
  tenant             text    NOT NULL,
  review_id          text    NOT NULL,
  rollout_id         text    NOT NULL,
  review             text    NOT NULL CHECK (review IN ('signature', 'week')),
  phase              int     NOT NULL,
  by                 text    NOT NULL,
  key_id             text    NULL,
  at                 bigint  NOT NULL,
  valid_until        bigint  NOT NULL,
  clean              boolean NULL,
  critical_incidents int     NULL,
  evidence_hash      text    NULL,
  note               text    NULL,
  PRIMARY KEY (tenant, review_id),
  CHECK ((review = 'week') = (clean IS NOT NULL AND critical_incidents IS NOT NULL)),
  CHECK (NOT coalesce(clean, false) OR critical_incidents = 0)
);
CREATE INDEX rollout_reviews_of ON rollout_reviews (tenant, rollout_id, at, review_id);
