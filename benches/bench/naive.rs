//! e: the loop that one writes first: an event, a transaction, over one connection. For scale. It is handed the records
//! from memory, which a real one would have to read.

use std::time::Instant;

use anyhow::Result;
use sessionfold::{
    config::Config,
    event::{Body, Decoded, Decoder, Event, TaskId, Text},
    service::decoder,
};
use sqlx::{Connection, PgConnection, Postgres, postgres::PgArguments, query::Query};

use crate::{
    backlog::{Kept, Topics},
    measured::Measured,
    rig::Rig,
};

pub async fn measure(rig: &Rig, topics: &Topics, records: &[&Kept]) -> Result<Measured> {
    let place = rig.fresh_place(topics).await?;
    let config: Config = rig.config(&place)?;
    let decoder = decoder(&config);
    let mut connection = rig.connect_to(&place).await?;
    let begun = Instant::now();
    for kept in records {
        take(&mut connection, &decoder, &place.group, kept).await?;
    }
    let seconds = begun.elapsed().as_secs_f64();
    connection.close().await?;
    Ok(Measured { records: records.len() as u64, seconds, peak_bytes: None })
}

async fn take(connection: &mut PgConnection, decoder: &Decoder, group: &str, kept: &Kept) -> Result<()> {
    let decoded = decoder.decode(kept.record.wire());
    let mut transaction = connection.begin().await?;
    if let Decoded::Event(event) = &decoded
        && insert(&mut transaction, event).await?
    {
        count(&mut transaction, event).await?;
    }
    let checkpoint = "INSERT INTO checkpoints (group_id, topic, partition, next_offset) VALUES ($1, $2, $3, $4)
        ON CONFLICT (group_id, topic, partition) DO UPDATE SET next_offset = EXCLUDED.next_offset, updated_at = now()";
    sqlx::query(checkpoint)
        .bind(group)
        .bind(&kept.topic)
        .bind(kept.partition)
        .bind(kept.offset + 1)
        .execute(&mut *transaction)
        .await?;
    Ok(transaction.commit().await?)
}

/// A statement with the columns bound that all kinds have, `$1` to `$7`.
fn with_common<'q>(statement: &'static str, event: &'q Event) -> Query<'q, Postgres, PgArguments> {
    sqlx::query(statement)
        .bind(event.session_id.as_str())
        .bind(event.emitted_at.as_utc())
        .bind(event.entity_id)
        .bind(event.correlation_id)
        .bind(event.causation_id)
        .bind(event.task_id.as_ref().map(TaskId::as_str))
        .bind(event.action_description.as_str())
}

/// False if it was there.
async fn insert(connection: &mut PgConnection, event: &Event) -> Result<bool> {
    let query = match &event.body {
        Body::Prompt(prompt) => with_common(
            "INSERT INTO prompts (session_id, emitted_at, entity_id, correlation_id, causation_id, task_id,
                action_description, prompt_id, prompt_preview, prompt_length, detected_intent)
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) ON CONFLICT DO NOTHING",
            event,
        )
        .bind(prompt.prompt_id)
        .bind(prompt.prompt_preview.as_str())
        .bind(prompt.prompt_length.get())
        .bind(prompt.detected_intent.as_ref().map(|intent| intent.as_str())),
        Body::Tool(tool) => with_common(
            "INSERT INTO tool_executions (session_id, emitted_at, entity_id, correlation_id, causation_id, task_id,
                action_description, tool_execution_id, tool_name, success, duration_ms, summary)
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) ON CONFLICT DO NOTHING",
            event,
        )
        .bind(tool.tool_execution_id)
        .bind(tool.tool_name.as_str())
        .bind(tool.success)
        .bind(tool.duration_ms.map(|duration| duration.get()))
        .bind(tool.summary.as_ref().map(|summary| summary.as_str())),
        Body::Started(_) | Body::Ended(_) => return insert_lifecycle(connection, event).await,
    };
    Ok(query.execute(connection).await?.rows_affected() > 0)
}

async fn insert_lifecycle(connection: &mut PgConnection, event: &Event) -> Result<bool> {
    let (started, ended) = match &event.body {
        Body::Started(started) => (Some(started), None),
        Body::Ended(ended) => (None, Some(ended)),
        Body::Prompt(_) | Body::Tool(_) => return Ok(false),
    };
    let query = with_common(
        "INSERT INTO lifecycle_events (session_id, emitted_at, entity_id, correlation_id, causation_id, task_id,
            action_description, kind, working_directory, git_branch, hook_source, reason, duration_seconds,
            tools_used_count)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14) ON CONFLICT DO NOTHING",
        event,
    )
    .bind(if started.is_some() { "started" } else { "ended" })
    .bind(started.map(|started| started.working_directory.as_str()))
    .bind(started.and_then(|started| started.git_branch.as_ref().map(Text::as_str)))
    .bind(started.map(|started| started.hook_source.as_str()))
    .bind(ended.map(|ended| ended.reason.as_str()))
    .bind(ended.and_then(|ended| Some(ended.duration_seconds?.get())))
    .bind(ended.map(|ended| ended.tools_used_count.get()));
    Ok(query.execute(connection).await?.rows_affected() > 0)
}

/// Counts an event that is new: reads the session's row, adds to it, writes it.
async fn count(connection: &mut PgConnection, event: &Event) -> Result<()> {
    let standing: Option<(i64, i64, i64, i64, i64)> = sqlx::query_as(
        "SELECT run_count, prompt_count, tool_count, tool_failure_count, event_count FROM sessions
        WHERE session_id = $1 FOR UPDATE",
    )
    .bind(event.session_id.as_str())
    .fetch_optional(&mut *connection)
    .await?;
    let (mut runs, mut prompts, mut tools, mut failures, events) = standing.unwrap_or_default();
    match &event.body {
        Body::Started(_) => runs += 1,
        Body::Prompt(_) => prompts += 1,
        Body::Tool(tool) => {
            tools += 1;
            failures += i64::from(!tool.success);
        }
        Body::Ended(_) => {}
    }
    let status = if matches!(event.body, Body::Ended(_)) { "ended" } else { "active" };
    sqlx::query(
        "INSERT INTO sessions (session_id, status, correlation_id, run_count, prompt_count, tool_count,
            tool_failure_count, tools_used_count, tool_usage, event_count, first_event_at, last_event_at, aggregator,
            state, version)
        VALUES ($1, $2, $3, $4, $5, $6, $7, 0, '{}', $8, $9, $9, 'naive', '{}', 1)
        ON CONFLICT (session_id) DO UPDATE SET
            status = EXCLUDED.status, run_count = EXCLUDED.run_count, prompt_count = EXCLUDED.prompt_count,
            tool_count = EXCLUDED.tool_count, tool_failure_count = EXCLUDED.tool_failure_count,
            event_count = EXCLUDED.event_count,
            first_event_at = least(sessions.first_event_at, EXCLUDED.first_event_at),
            last_event_at = greatest(sessions.last_event_at, EXCLUDED.last_event_at),
            version = sessions.version + 1, updated_at = now()",
    )
    .bind(event.session_id.as_str())
    .bind(status)
    .bind(event.correlation_id)
    .bind(runs)
    .bind(prompts)
    .bind(tools)
    .bind(failures)
    .bind(events + 1)
    .bind(event.emitted_at.as_utc())
    .execute(connection)
    .await?;
    Ok(())
}
