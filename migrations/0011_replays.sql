-- Replays: stretches of the logs that are folded into these tables beside the group. How far one is stands in
-- checkpoints, under the group_id 'replay:' and its name.

CREATE TABLE replays (
    name            text NOT NULL PRIMARY KEY,
    asked_for       text NOT NULL,
    begun_at        timestamptz NOT NULL DEFAULT now(),
    finished_at     timestamptz
);

COMMENT ON TABLE replays IS 'The last replay of each name, be it finished or not.';
COMMENT ON COLUMN replays.asked_for IS 'The stretches, as they were asked for: from, to and topics. One that goes on is asked for the same.';

CREATE TABLE replay_partitions (
    name            text NOT NULL REFERENCES replays ON DELETE CASCADE,
    topic           text NOT NULL,
    partition       integer NOT NULL,
    from_offset     bigint NOT NULL CHECK (from_offset >= 0),
    to_offset       bigint NOT NULL CHECK (to_offset >= from_offset),
    PRIMARY KEY (name, topic, partition)
);

COMMENT ON TABLE replay_partitions IS 'What a replay reads: records from from_offset on, up to to_offset, without it.';

-- A replay tells of changes that others heard of long ago.
ALTER TABLE transitions ADD COLUMN withheld boolean NOT NULL DEFAULT false;

COMMENT ON COLUMN transitions.withheld IS 'Not to be published: a replay made it.';

-- A record that is read again must not become a second dead letter.
CREATE INDEX dead_letters_by_record ON dead_letters (topic, partition, record_offset);
