-- What the publisher of the outbox needs: when a row is due, which it gave up, and what a promotion carried over.

ALTER TABLE transitions
    ADD COLUMN carried_over integer NOT NULL DEFAULT 0,
    ADD COLUMN next_attempt_at timestamptz,
    ADD COLUMN set_aside_at timestamptz;

COMMENT ON COLUMN transitions.published_at IS 'When the brokers had acknowledged it.';
COMMENT ON COLUMN transitions.attempts IS 'How often it was refused.';
COMMENT ON COLUMN transitions.carried_over IS 'Of how many promotions it was not published before; such rows come before those of the generation itself.';
COMMENT ON COLUMN transitions.next_attempt_at IS 'Not sent before: an instance is sending it, or waits after a failure. Null: at once.';
COMMENT ON COLUMN transitions.set_aside_at IS 'When the publisher gave it up after too many attempts; the session''s later rows go on without it.';

-- What waits to be published, in the order of publication. A row leaves it when it is published.
CREATE INDEX transitions_unpublished ON transitions (session_id, carried_over DESC, session_version)
    WHERE published_at IS NULL AND NOT withheld AND set_aside_at IS NULL;
CREATE INDEX transitions_set_aside ON transitions (set_aside_at) WHERE set_aside_at IS NOT NULL;
