-- How far a tenant's log has reached the event stream. Only the publisher writes here, after the server's acknowledgement: a crash
-- in between publishes some entries again, under the same message ids.
CREATE TABLE published (
  tenant   text   NOT NULL PRIMARY KEY,
  next     bigint NOT NULL, -- tree index of the entry to publish next
  instance text   NOT NULL, -- which life of the stream that is about: another one has lost what was published before
  seq      bigint NOT NULL, -- the stream's sequence of this tenant's newest message: a stream that ends before it has lost its tail
  CHECK (next >= 0 AND seq >= 0)
);
