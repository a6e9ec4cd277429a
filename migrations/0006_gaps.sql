-- How much a decision left out. Beyond the end of its log a checkpoint says nothing of that log: the topic was made anew,
-- and none of its records has been read.

ALTER TABLE adopted_offsets ADD COLUMN gap bigint NOT NULL GENERATED ALWAYS AS
    (greatest(to_offset - CASE WHEN from_offset > log_end THEN log_start ELSE from_offset END, 0)) STORED;

COMMENT ON TABLE adopted_offsets IS 'Checkpoints that `sessionfold offsets adopt` moved, and what that left out.';
COMMENT ON COLUMN adopted_offsets.gap IS 'How many offsets before to_offset no table holds: from from_offset on or, where that was beyond the end of the log, from log_start on.';
