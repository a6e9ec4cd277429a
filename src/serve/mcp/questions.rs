//! What each tool asks the tables.

use std::cmp::Reverse;

use serde_json::{Map, Value, json};

use crate::store::{
    ChangeCursor, ChangesSince, FailureCursor, SessionCursor, SessionOrder, Store, TimeRange, TimelineCursor, ToolUsage,
};

use super::{
    Mcp,
    answer::Answer,
    arguments::{self, ChangedSince, FindSessions, GetSession, GetTimeline, Instant, Needle, position, range, rows},
    failure::CallFailure,
};

type Answered = Result<Answer, CallFailure>;

pub(super) async fn find_sessions(mcp: &Mcp, asked: FindSessions) -> Answered {
    let (order, size) = (asked.order(), rows(asked.limit)?);
    let after: Option<SessionCursor> = position(asked.after.as_deref())?;
    if let Some(SessionOrder { by, direction }) = after.as_ref().map(SessionCursor::order).filter(|of| *of != order) {
        let why = format!("after: a position in the list by {by}, {direction}: sort by that");
        return Err(CallFailure::arguments(why));
    }
    let filter = asked.filter()?;
    let question = async move |store: Store| store.session_page(&filter, order, after.as_ref(), size).await;
    let page = mcp.reader.ask(question).await?;
    Ok(Answer::default().with("sessions", page.sessions)?.next(page.next))
}

pub(super) async fn get_session(mcp: &Mcp, asked: GetSession) -> Answered {
    let session_id = asked.session()?;
    let detail = mcp.reader.ask(async move |store: Store| store.session_detail(&session_id).await).await?;
    Answer::default().with("session", detail.ok_or(CallFailure::Unknown)?)
}

pub(super) async fn get_timeline(mcp: &Mcp, asked: GetTimeline) -> Answered {
    let (session_id, size) = (asked.session()?, rows(asked.limit)?);
    let after: Option<TimelineCursor> = position(asked.after.as_deref())?;
    let question = async move |store: Store| store.timeline(&session_id, after, size).await;
    let timeline = mcp.reader.ask(question).await?.ok_or(CallFailure::Unknown)?;
    let next = timeline.next;
    let mut timeline = timeline.to_json();
    let answer = Answer::default().with("session", timeline["session"].take())?;
    Ok(answer.with("entries", timeline["entries"].take())?.next(next))
}

pub(super) async fn tool_usage(mcp: &Mcp, asked: arguments::ToolUsage) -> Answered {
    let (range, size) = (range(asked.from, asked.to)?, rows(asked.limit)?);
    let tool = asked.tool.map(|Needle(name)| name);
    let question = async move |store: Store| store.tool_usage(range, tool.as_deref(), size).await;
    let (tools, more) = mcp.reader.ask(question).await?;
    let tools: Vec<Value> = tools.into_iter().map(with_rate).collect();
    with_range(Answer::default(), range)?.with("tools", tools)?.with("more", more)
}

fn with_rate(usage: ToolUsage) -> Value {
    #[expect(clippy::cast_precision_loss, reason = "a rate of four digits")]
    let rate = (usage.calls - usage.failures) as f64 / usage.calls.max(1) as f64;
    let mut tool = json!(usage);
    tool["success_rate"] = json!((rate * 10_000.0).round() / 10_000.0);
    tool
}

fn with_range(answer: Answer, range: TimeRange) -> Answered {
    answer.with("from", range.from())?.with("to", range.to())
}

pub(super) async fn failures(mcp: &Mcp, asked: arguments::Failures) -> Answered {
    let (range, size) = (range(asked.from, asked.to)?, rows(asked.limit)?);
    let after: Option<FailureCursor> = position(asked.after.as_deref())?;
    let tool = asked.tool.map(|Needle(name)| name);
    let question = async move |store: Store| store.failures(range, tool.as_deref(), after.as_ref(), size).await;
    let (failures, next) = mcp.reader.ask(question).await?;
    Ok(with_range(Answer::default(), range)?.with("failures", failures)?.next(next))
}

pub(super) async fn changed_since(mcp: &Mcp, asked: ChangedSince) -> Answered {
    let size = rows(asked.limit)?;
    let since = match (asked.since, position::<ChangeCursor>(asked.after.as_deref())?) {
        (Some(Instant(since)), None) => ChangesSince::Instant(since),
        (None, Some(cursor)) => ChangesSince::Cursor(cursor),
        _ => return Err(CallFailure::arguments("since or after: one of the two")),
    };
    let last_event_from = asked.last_event_from.map(|Instant(time)| time);
    let question = async move |store: Store| store.changed_sessions(&since, last_event_from, size).await;
    let changes = mcp.reader.ask(question).await?;
    let changes = changes.map_err(|why| CallFailure::arguments(format!("after: {why}")))?;
    Ok(Answer::default().with("sessions", changes.sessions)?.with("more", changes.more)?.next(Some(changes.next)))
}

pub(super) async fn pipeline_health(mcp: &Mcp, asked: arguments::PipelineHealth) -> Answered {
    let size = rows(asked.limit)?;
    let group_id = mcp.group_id.clone();
    let tables = mcp.reader.ask(async move |store: Store| store.pipeline_tables(&group_id).await).await?;
    let (partitions, unknown) = match mcp.source.partitions(&mcp.reader, &mcp.group_id).await {
        Ok(partitions) => (Some(partitions), None),
        Err(why) => (None, Some(why)),
    };
    let halted = partitions.as_ref().map(|all| all.iter().filter(|of| of.halted == Some(true)).count());
    let mut shown = partitions.unwrap_or_default();
    shown.sort_by_key(|of| Reverse((of.halted, of.lag)));
    let left_out = shown.len().saturating_sub(size.get());
    shown.truncate(size.get());
    let letters: Map<String, Value> =
        tables.open_dead_letters.into_iter().map(|(reason, count)| (reason, json!(count))).collect();
    Answer::default()
        .with("group_id", &mcp.group_id)?
        .with("seen_by", mcp.source.as_str())?
        .with("consumer", mcp.source.health())?
        .with("halted_partitions", halted)?
        .with("partitions", shown)?
        .with("partitions_left_out", left_out)?
        .with("partitions_unknown", unknown)?
        .with("open_dead_letters", letters)?
        .with("last_checkpoint_at", tables.recency.last_checkpoint_at)?
        .with("caught_up_at", tables.recency.caught_up_at)
}
