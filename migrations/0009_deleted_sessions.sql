-- Sessions that an operator deleted: what arrives of them, or is read again, is ignored.

CREATE TABLE deleted_sessions (
    session_id      text COLLATE "C" NOT NULL PRIMARY KEY,
    deleted_at      timestamptz NOT NULL DEFAULT now(),
    reason          text
);

COMMENT ON TABLE deleted_sessions IS 'Sessions that `sessionfold sessions delete` deleted. Their events are ignored, until `sessionfold sessions restore` takes the row away.';
