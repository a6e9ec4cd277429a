-- What is deleted by age is found by age. Where nothing is, these cost an entry a session, a dead letter, and a published
-- transition.

CREATE INDEX sessions_by_last_event ON sessions (last_event_hour);
CREATE INDEX dead_letters_by_age ON dead_letters (created_at);
CREATE INDEX transitions_published ON transitions (published_at) WHERE published_at IS NOT NULL;
