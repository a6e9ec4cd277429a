-- Sessions and the events that they are folded from.
--
-- Session ids sort by bytes (COLLATE "C"), as they do in the program: writers lock rows in one order.
-- Every key begins with session_id and none needs a sequence, so that the tables can be distributed by it.

CREATE TABLE sessions (
    session_id          text COLLATE "C" NOT NULL PRIMARY KEY,
    status              text NOT NULL CHECK (status IN ('active', 'orphan', 'ended', 'timed_out')),
    correlation_id      uuid NOT NULL,
    task_id             text,
    started_at          timestamptz,
    ended_at            timestamptz,
    duration_seconds    double precision,
    working_directory   text,
    git_branch          text,
    hook_source         text,
    end_reason          text,
    end_provenance      text CHECK (end_provenance IN ('explicit', 'timeout')),
    run_count           bigint NOT NULL,
    prompt_count        bigint NOT NULL,
    tool_count          bigint NOT NULL,
    tool_failure_count  bigint NOT NULL,
    tools_used_count    bigint NOT NULL,
    tool_usage          jsonb NOT NULL,
    event_count         bigint NOT NULL,
    first_event_at      timestamptz NOT NULL,
    last_event_at       timestamptz NOT NULL,
    aggregator          text NOT NULL,
    state               jsonb NOT NULL,
    version             bigint NOT NULL CHECK (version > 0),
    created_at          timestamptz NOT NULL DEFAULT now(),
    updated_at          timestamptz NOT NULL DEFAULT now()
)
-- Room for the next version of a row on its own page, so that an update need not touch the index.
WITH (fillfactor = 70);

COMMENT ON TABLE sessions IS 'One row a session: a function of the set of its events.';
COMMENT ON COLUMN sessions.aggregator IS 'Name and version of the aggregator that made state.';
COMMENT ON COLUMN sessions.state IS 'What the aggregator carries on from; an internal format.';
COMMENT ON COLUMN sessions.version IS 'Grows by one with each change of the row.';

CREATE TABLE prompts (
    session_id          text COLLATE "C" NOT NULL,
    prompt_id           uuid NOT NULL,
    emitted_at          timestamptz NOT NULL,
    prompt_preview      text NOT NULL,
    prompt_length       bigint NOT NULL,
    detected_intent     text,
    entity_id           uuid NOT NULL,
    correlation_id      uuid NOT NULL,
    causation_id        uuid NOT NULL,
    task_id             text,
    action_description  text NOT NULL,
    PRIMARY KEY (session_id, prompt_id)
);

CREATE TABLE tool_executions (
    session_id          text COLLATE "C" NOT NULL,
    tool_execution_id   uuid NOT NULL,
    emitted_at          timestamptz NOT NULL,
    tool_name           text NOT NULL,
    success             boolean NOT NULL,
    duration_ms         integer,
    summary             text,
    entity_id           uuid NOT NULL,
    correlation_id      uuid NOT NULL,
    causation_id        uuid NOT NULL,
    task_id             text,
    action_description  text NOT NULL,
    PRIMARY KEY (session_id, tool_execution_id)
);

CREATE TABLE lifecycle_events (
    session_id          text COLLATE "C" NOT NULL,
    kind                text NOT NULL CHECK (kind IN ('started', 'ended')),
    emitted_at          timestamptz NOT NULL,
    causation_id        uuid NOT NULL,
    working_directory   text,
    git_branch          text,
    hook_source         text,
    reason              text,
    duration_seconds    double precision,
    tools_used_count    bigint,
    entity_id           uuid NOT NULL,
    correlation_id      uuid NOT NULL,
    task_id             text,
    action_description  text NOT NULL,
    PRIMARY KEY (session_id, kind, emitted_at, causation_id),
    CHECK (CASE kind
        WHEN 'started' THEN working_directory IS NOT NULL AND hook_source IS NOT NULL
        ELSE reason IS NOT NULL AND tools_used_count IS NOT NULL
    END)
);

COMMENT ON TABLE prompts IS 'The prompts of a session, one row a prompt_id. Texts are redacted.';
COMMENT ON TABLE tool_executions IS 'The tool executions of a session, one row a tool_execution_id. Texts are redacted.';
COMMENT ON TABLE lifecycle_events IS 'The starts and ends of a session, one row a kind, emitted_at and causation_id.';

-- Every change of a session's status, written in the transaction that makes it.
CREATE TABLE transitions (
    id                  uuid NOT NULL PRIMARY KEY,
    session_id          text COLLATE "C" NOT NULL,
    session_version     bigint NOT NULL,
    from_status         text,
    to_status           text NOT NULL,
    cause               text NOT NULL,
    occurred_at         timestamptz NOT NULL DEFAULT now(),
    payload             jsonb NOT NULL,
    published_at        timestamptz,
    attempts            integer NOT NULL DEFAULT 0,
    last_error          text
);

COMMENT ON TABLE transitions IS 'Outbox: one row for each change of a session''s status. In order within a session by session_version.';
COMMENT ON COLUMN transitions.from_status IS 'Null for a session''s first row.';

-- What a session's timeline and its deletion ask for.
CREATE INDEX transitions_by_session ON transitions (session_id, session_version);

-- A session takes what belongs to it along. A trigger a statement, where foreign keys would cost one a row on every
-- insert. It can't miss a row: whoever adds an event holds the lock on the session's row.
CREATE FUNCTION delete_what_belongs_to_sessions() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('DELETE FROM %I.prompts p USING deleted d WHERE p.session_id = d.session_id', TG_TABLE_SCHEMA);
    EXECUTE format('DELETE FROM %I.tool_executions t USING deleted d WHERE t.session_id = d.session_id', TG_TABLE_SCHEMA);
    EXECUTE format('DELETE FROM %I.lifecycle_events l USING deleted d WHERE l.session_id = d.session_id', TG_TABLE_SCHEMA);
    EXECUTE format('DELETE FROM %I.transitions t USING deleted d WHERE t.session_id = d.session_id', TG_TABLE_SCHEMA);
    RETURN NULL;
END
$$;

CREATE TRIGGER sessions_delete_what_belongs_to_them
    AFTER DELETE ON sessions
    REFERENCING OLD TABLE AS deleted
    FOR EACH STATEMENT EXECUTE FUNCTION delete_what_belongs_to_sessions();
