-- Aggregators beside the sessions' own, the digest of a session's events, and what the sweep looks for.

ALTER TABLE sessions
    ADD COLUMN event_digest     bytea,
    ADD COLUMN sides            text[] NOT NULL DEFAULT '{}',
    -- Changes once an hour at most, so that its index doesn't make every update of a row write to indexes.
    ADD COLUMN last_event_hour  timestamptz NOT NULL
        GENERATED ALWAYS AS (date_bin('1 hour', last_event_at, timestamptz '2000-01-01 00:00:00+00')) STORED;

COMMENT ON COLUMN sessions.event_digest IS 'Digest of the set of the session''s events. Null where an earlier version wrote the row.';
COMMENT ON COLUMN sessions.sides IS 'The aggregators in the table aggregates, by name and version, that have taken in all of the session''s events.';

-- Sessions that may time out, the longest silent first.
CREATE INDEX sessions_without_end ON sessions (last_event_hour) WHERE status IN ('active', 'orphan');

-- Kept only where the aggregator depends on the order of arrival: what came first has the smaller number.
ALTER TABLE prompts ADD COLUMN arrival bigint;
ALTER TABLE tool_executions ADD COLUMN arrival bigint;
ALTER TABLE lifecycle_events ADD COLUMN arrival bigint;

CREATE TABLE aggregates (
    session_id      text COLLATE "C" NOT NULL,
    aggregator      text NOT NULL,
    key             text COLLATE "C" NOT NULL,
    state           jsonb NOT NULL,
    updated_at      timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (session_id, aggregator, key)
);

COMMENT ON TABLE aggregates IS 'What aggregators beside the sessions'' own make of a session''s events: a state for each key that they choose.';
COMMENT ON COLUMN aggregates.aggregator IS 'Its name; its version is in sessions.sides.';

-- Which aggregators the tables as a whole are folded by.
CREATE TABLE aggregators (
    role            text NOT NULL PRIMARY KEY,
    aggregator      text NOT NULL,
    complete_since  timestamptz NOT NULL DEFAULT now()
);

COMMENT ON TABLE aggregators IS 'The aggregators that every session was folded by. role is ''session'', or the name of one in the table aggregates.';

INSERT INTO aggregators (role, aggregator)
    SELECT 'session', min(aggregator) FROM sessions HAVING count(DISTINCT aggregator) = 1;

-- When an instance found that a partition's records were all in the tables. The sweep asks about no later time.
ALTER TABLE checkpoints ADD COLUMN caught_up_at timestamptz;

CREATE OR REPLACE FUNCTION delete_what_belongs_to_sessions() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('DELETE FROM %I.prompts p USING deleted d WHERE p.session_id = d.session_id', TG_TABLE_SCHEMA);
    EXECUTE format('DELETE FROM %I.tool_executions t USING deleted d WHERE t.session_id = d.session_id', TG_TABLE_SCHEMA);
    EXECUTE format('DELETE FROM %I.lifecycle_events l USING deleted d WHERE l.session_id = d.session_id', TG_TABLE_SCHEMA);
    EXECUTE format('DELETE FROM %I.transitions t USING deleted d WHERE t.session_id = d.session_id', TG_TABLE_SCHEMA);
    EXECUTE format('DELETE FROM %I.aggregates a USING deleted d WHERE a.session_id = d.session_id', TG_TABLE_SCHEMA);
    RETURN NULL;
END
$$;
