-- An operator's decisions where a checkpoint goes on: what was skipped, or read again, stays known.

CREATE TABLE adopted_offsets (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    group_id        text NOT NULL,
    topic           text NOT NULL,
    partition       int NOT NULL,
    from_offset     bigint NOT NULL,
    to_offset       bigint NOT NULL,
    log_start       bigint NOT NULL,
    log_end         bigint NOT NULL,
    adopted_at      timestamptz NOT NULL DEFAULT now()
);

COMMENT ON TABLE adopted_offsets IS 'Checkpoints that `sessionfold offsets adopt` moved. Records from from_offset up to to_offset, without it, are a gap where to_offset is the greater: no table holds them.';
COMMENT ON COLUMN adopted_offsets.log_start IS 'The first offset of the log at that time, as the broker told it.';
COMMENT ON COLUMN adopted_offsets.log_end IS 'The offset behind the last record at that time, as the broker told it.';
