-- What the columns mean that had no comment, for those who ask the tables: docs/tables.md shows all of them.

COMMENT ON COLUMN sessions.session_id IS 'As the events have it.';
COMMENT ON COLUMN sessions.status IS 'active; orphan: no start is known; ended; timed_out: silent for too long. None is final, unless the aggregator is reference: a later event may change it.';
COMMENT ON COLUMN sessions.correlation_id IS 'Of the first start; without one, of the first event.';
COMMENT ON COLUMN sessions.task_id IS 'Of the first event that has one.';
COMMENT ON COLUMN sessions.started_at IS 'When the first start was emitted. Null: no start is known.';
COMMENT ON COLUMN sessions.ended_at IS 'When the end that counts was emitted; of a session that is timed_out, last_event_at. Null for the others.';
COMMENT ON COLUMN sessions.duration_seconds IS 'As the end says; where it says nothing, and when timed_out, from started_at to ended_at. Null without an end, or without a start to count from.';
COMMENT ON COLUMN sessions.working_directory IS 'Of the first start.';
COMMENT ON COLUMN sessions.git_branch IS 'Of the first start that has one. An empty text is what that start said; null: none said anything.';
COMMENT ON COLUMN sessions.hook_source IS 'What the first start was: startup, resume, clear or compact.';
COMMENT ON COLUMN sessions.end_reason IS 'Of the end that counts: clear, logout, prompt_input_exit or other; timeout for a session that is timed_out. Null for the others.';
COMMENT ON COLUMN sessions.end_provenance IS 'Who says that it ended: explicit, an event; timeout, its silence. Null without an end.';
COMMENT ON COLUMN sessions.run_count IS 'Starts. A session that was resumed has several.';
COMMENT ON COLUMN sessions.prompt_count IS 'Prompts.';
COMMENT ON COLUMN sessions.tool_count IS 'Tool executions.';
COMMENT ON COLUMN sessions.tool_failure_count IS 'Tool executions without success.';
COMMENT ON COLUMN sessions.tools_used_count IS 'Different names of tools.';
COMMENT ON COLUMN sessions.tool_usage IS 'An object: the executions of each tool, by its name.';
COMMENT ON COLUMN sessions.event_count IS 'Events. One that came several times is one.';
COMMENT ON COLUMN sessions.first_event_at IS 'When the first event was emitted.';
COMMENT ON COLUMN sessions.last_event_at IS 'When the last event was emitted.';
COMMENT ON COLUMN sessions.created_at IS 'When the row was written first.';
COMMENT ON COLUMN sessions.updated_at IS 'When the row was last changed.';
COMMENT ON COLUMN sessions.last_event_hour IS 'The hour of last_event_at, in UTC. It has an index: a range of time is found by it fast.';

COMMENT ON COLUMN prompts.session_id IS 'The session.';
COMMENT ON COLUMN prompts.prompt_id IS 'The prompt, within the session.';
COMMENT ON COLUMN prompts.emitted_at IS 'When it was emitted, as the event says.';
COMMENT ON COLUMN prompts.prompt_preview IS 'The beginning of the prompt, of 100 characters at most. Redacted.';
COMMENT ON COLUMN prompts.prompt_length IS 'How long the whole prompt was, as the event says.';
COMMENT ON COLUMN prompts.detected_intent IS 'As the event says. Redacted.';
COMMENT ON COLUMN prompts.entity_id IS 'As the event has it.';
COMMENT ON COLUMN prompts.correlation_id IS 'As the event has it.';
COMMENT ON COLUMN prompts.causation_id IS 'As the event has it.';
COMMENT ON COLUMN prompts.task_id IS 'As the event has it.';
COMMENT ON COLUMN prompts.action_description IS 'As the event has it. Redacted.';
COMMENT ON COLUMN prompts.arrival IS 'Where it stands in the session''s order of arrival. Null but for the aggregator reference.';

COMMENT ON COLUMN tool_executions.session_id IS 'The session.';
COMMENT ON COLUMN tool_executions.tool_execution_id IS 'The execution, within the session.';
COMMENT ON COLUMN tool_executions.emitted_at IS 'When it was emitted, as the event says.';
COMMENT ON COLUMN tool_executions.tool_name IS 'The tool.';
COMMENT ON COLUMN tool_executions.success IS 'Whether it succeeded.';
COMMENT ON COLUMN tool_executions.duration_ms IS 'How long it took, in milliseconds. Null: the event doesn''t say.';
COMMENT ON COLUMN tool_executions.summary IS 'As the event says. Redacted.';
COMMENT ON COLUMN tool_executions.entity_id IS 'As the event has it.';
COMMENT ON COLUMN tool_executions.correlation_id IS 'As the event has it.';
COMMENT ON COLUMN tool_executions.causation_id IS 'As the event has it.';
COMMENT ON COLUMN tool_executions.task_id IS 'As the event has it.';
COMMENT ON COLUMN tool_executions.action_description IS 'As the event has it. Redacted.';
COMMENT ON COLUMN tool_executions.arrival IS 'Where it stands in the session''s order of arrival. Null but for the aggregator reference.';

COMMENT ON COLUMN lifecycle_events.session_id IS 'The session.';
COMMENT ON COLUMN lifecycle_events.kind IS 'started or ended.';
COMMENT ON COLUMN lifecycle_events.emitted_at IS 'When it was emitted, as the event says.';
COMMENT ON COLUMN lifecycle_events.causation_id IS 'As the event has it. It tells starts, and ends, of one instant apart.';
COMMENT ON COLUMN lifecycle_events.working_directory IS 'Of a start.';
COMMENT ON COLUMN lifecycle_events.git_branch IS 'Of a start. Null: it doesn''t say.';
COMMENT ON COLUMN lifecycle_events.hook_source IS 'Of a start: startup, resume, clear or compact.';
COMMENT ON COLUMN lifecycle_events.reason IS 'Of an end: clear, logout, prompt_input_exit or other.';
COMMENT ON COLUMN lifecycle_events.duration_seconds IS 'Of an end: how long the session took, as it says. Null: it doesn''t say.';
COMMENT ON COLUMN lifecycle_events.tools_used_count IS 'Of an end: as it says. That of the session is counted.';
COMMENT ON COLUMN lifecycle_events.entity_id IS 'As the event has it.';
COMMENT ON COLUMN lifecycle_events.correlation_id IS 'As the event has it.';
COMMENT ON COLUMN lifecycle_events.task_id IS 'As the event has it.';
COMMENT ON COLUMN lifecycle_events.action_description IS 'As the event has it. Redacted.';
COMMENT ON COLUMN lifecycle_events.arrival IS 'Where it stands in the session''s order of arrival. Null but for the aggregator reference.';

COMMENT ON COLUMN transitions.id IS 'Of the change. The published message has it, too.';
COMMENT ON COLUMN transitions.session_id IS 'The session.';
COMMENT ON COLUMN transitions.session_version IS 'The version of the session''s row that the change made.';
COMMENT ON COLUMN transitions.to_status IS 'The status from then on.';
COMMENT ON COLUMN transitions.cause IS 'event; timeout; repair: verify or a changed setting.';
COMMENT ON COLUMN transitions.occurred_at IS 'When the change was written.';
COMMENT ON COLUMN transitions.payload IS 'The message that is published, but for id and occurred_at.';
COMMENT ON COLUMN transitions.last_error IS 'Why it was refused last.';

COMMENT ON COLUMN dead_letters.id IS 'Of the dead letter.';
COMMENT ON COLUMN dead_letters.topic IS 'Where the record stands.';
COMMENT ON COLUMN dead_letters.partition IS 'Where the record stands.';
COMMENT ON COLUMN dead_letters.record_offset IS 'Where the record stands.';
COMMENT ON COLUMN dead_letters.record_timestamp IS 'The record''s, as Kafka has it. Null: none.';
COMMENT ON COLUMN dead_letters.key IS 'The record''s. Null: none.';
COMMENT ON COLUMN dead_letters.reason IS 'What is wrong with it, one of a closed list.';
COMMENT ON COLUMN dead_letters.field_path IS 'The member at fault, where the reason is one''s.';
COMMENT ON COLUMN dead_letters.detail IS 'What is wrong with it, in words. Never a value of the record.';
COMMENT ON COLUMN dead_letters.status IS 'open; redriven: its event was taken; discarded.';
COMMENT ON COLUMN dead_letters.attempts IS 'How often it was tried again.';
COMMENT ON COLUMN dead_letters.created_at IS 'When it was set aside.';

COMMENT ON COLUMN aggregates.session_id IS 'The session.';
COMMENT ON COLUMN aggregates.key IS 'Which of its states, as the aggregator says.';
COMMENT ON COLUMN aggregates.state IS 'What the aggregator has made of the session''s events.';
COMMENT ON COLUMN aggregates.updated_at IS 'When the row was last changed.';
COMMENT ON COLUMN aggregators.role IS 'session, or the name of one in the table aggregates.';
COMMENT ON COLUMN aggregators.aggregator IS 'Its name and version.';
COMMENT ON COLUMN aggregators.complete_since IS 'Since when it has taken in all sessions.';

COMMENT ON COLUMN checkpoints.group_id IS 'The consumer group; or replay: and the name of a replay.';
COMMENT ON COLUMN checkpoints.topic IS 'The topic.';
COMMENT ON COLUMN checkpoints.partition IS 'The number of the partition.';
COMMENT ON COLUMN checkpoints.next_offset IS 'Of the first record that is not in the tables yet.';
COMMENT ON COLUMN checkpoints.updated_at IS 'When it last moved.';
COMMENT ON COLUMN checkpoints.caught_up_at IS 'The last instant at which the partition was read to its end. Null: not known, as after it was moved back.';

COMMENT ON TABLE adopted_offsets IS 'Checkpoints that `sessionfold offsets adopt` and `offsets seek` moved, and what that left out.';
COMMENT ON COLUMN adopted_offsets.id IS 'In the order of the decisions.';
COMMENT ON COLUMN adopted_offsets.group_id IS 'The consumer group.';
COMMENT ON COLUMN adopted_offsets.topic IS 'The topic.';
COMMENT ON COLUMN adopted_offsets.partition IS 'The number of the partition.';
COMMENT ON COLUMN adopted_offsets.from_offset IS 'The checkpoint before.';
COMMENT ON COLUMN adopted_offsets.to_offset IS 'The checkpoint after.';
COMMENT ON COLUMN adopted_offsets.adopted_at IS 'When it was decided.';

COMMENT ON COLUMN deleted_sessions.session_id IS 'The session.';
COMMENT ON COLUMN deleted_sessions.deleted_at IS 'When it was deleted.';
COMMENT ON COLUMN deleted_sessions.reason IS 'What whoever deleted it said.';

COMMENT ON COLUMN replays.name IS 'Of the replay.';
COMMENT ON COLUMN replays.begun_at IS 'When it began.';
COMMENT ON COLUMN replays.finished_at IS 'When it came to its end. Null: not yet.';
COMMENT ON COLUMN replay_partitions.name IS 'Of the replay.';
COMMENT ON COLUMN replay_partitions.topic IS 'The topic.';
COMMENT ON COLUMN replay_partitions.partition IS 'The number of the partition.';
COMMENT ON COLUMN replay_partitions.from_offset IS 'The first that it reads.';
COMMENT ON COLUMN replay_partitions.to_offset IS 'The first that it no longer reads.';

COMMENT ON COLUMN generation.is_the_only_row IS 'True, so that there is one row.';
COMMENT ON COLUMN generation.id IS 'Of the generation.';
COMMENT ON COLUMN generation.name IS 'Of the generation.';
COMMENT ON COLUMN generation.created_at IS 'When its tables were made.';
