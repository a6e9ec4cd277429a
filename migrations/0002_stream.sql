-- How far each partition was read, and the records that are no good events.

CREATE TABLE checkpoints (
    group_id        text NOT NULL,
    topic           text NOT NULL,
    partition       integer NOT NULL,
    next_offset     bigint NOT NULL CHECK (next_offset >= 0),
    updated_at      timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (group_id, topic, partition)
);

COMMENT ON TABLE checkpoints IS 'The authority on offsets: next_offset is the first record that is not in the tables yet.';

CREATE TABLE dead_letters (
    id                  uuid NOT NULL PRIMARY KEY,
    topic               text NOT NULL,
    partition           integer NOT NULL,
    record_offset       bigint NOT NULL,
    record_timestamp    timestamptz,
    key                 bytea,
    value               bytea,
    headers             jsonb NOT NULL,
    reason              text NOT NULL,
    field_path          text,
    detail              text NOT NULL,
    status              text NOT NULL DEFAULT 'open' CHECK (status IN ('open', 'redriven', 'discarded')),
    attempts            integer NOT NULL DEFAULT 0,
    created_at          timestamptz NOT NULL DEFAULT now()
);

COMMENT ON TABLE dead_letters IS 'Records that are no good events, byte for byte. value may hold unredacted secrets.';
COMMENT ON COLUMN dead_letters.value IS 'Null for a null value.';
COMMENT ON COLUMN dead_letters.headers IS 'In order: objects with key (or key_base64) and value (text or null) or value_base64.';

-- What an operator asks first: how many open ones, by reason.
CREATE INDEX dead_letters_open_by_reason ON dead_letters (reason) WHERE status = 'open';
