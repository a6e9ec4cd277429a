-- What these tables are: the first ones, or a generation that was rebuilt from the logs beside them.

CREATE TABLE generation (
    is_the_only_row boolean NOT NULL PRIMARY KEY DEFAULT true CHECK (is_the_only_row),
    id              uuid NOT NULL DEFAULT gen_random_uuid(),
    name            text NOT NULL DEFAULT 'original',
    settings        jsonb,
    created_at      timestamptz NOT NULL DEFAULT now(),
    promoted_at     timestamptz
);

COMMENT ON TABLE generation IS 'One row: which generation the tables of this schema are. Writers that began with another one stop.';
COMMENT ON COLUMN generation.settings IS 'The aggregator that the sessions are folded with, whatever the configuration says. Null: the configuration''s.';
COMMENT ON COLUMN generation.promoted_at IS 'When they last became the tables that are read and written. Null: not since they were made.';

INSERT INTO generation DEFAULT VALUES;
