//! The end of a session by an operator's decision, as an event: the log stays the only truth, and a replay finds the
//! decision where it finds everything else.

use std::time::Duration;

use chrono::Utc;
use uuid::Uuid;

use crate::{
    event::{
        Body, Count, Decoded, Decoder, EndReason, Ended, Event, EventTime, RecordTimestamp, RedactedText, SessionId,
        TaskId, WireRecord,
    },
    fold::{Aggregators, BatchFold, SessionAggregator, Status, Wanted},
    store::{SessionView, Store, StoreError},
};

/// Why a session is not ended.
#[derive(Debug, thiserror::Error)]
pub enum NotFinalized {
    #[error("no such session is stored")]
    Unknown,
    #[error("it was deleted, so an end would be ignored; `sessions restore` comes first")]
    Deleted,
    #[error("it is ended already, since {0}")]
    Ended(EventTime),
    #[error("an end at {at} would not end it: {why}; without a time it ends with its last event, at {last}")]
    WouldNotEnd { at: EventTime, why: String, last: EventTime },
    /// The service would not take the event.
    #[error("the service would set this end aside as a dead letter, for {reason}: {detail}")]
    Refused { reason: &'static str, detail: String },
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The event that ends a session, at this time or with its last event. Whether it does is found out by folding it, as the
/// service will, into what is stored now.
///
/// # Errors
/// See [`NotFinalized`].
pub async fn plan_end<A: SessionAggregator>(
    store: &Store,
    aggregators: &Aggregators<A>,
    decoder: &Decoder,
    session_id: &SessionId,
    at: Option<EventTime>,
    reason: RedactedText,
) -> Result<Event, NotFinalized> {
    if !store.tombstones(std::slice::from_ref(session_id)).await?.is_empty() {
        return Err(NotFinalized::Deleted);
    }
    let session = store.session_views(std::slice::from_ref(session_id)).await?.pop().ok_or(NotFinalized::Unknown)?;
    if session.status == Status::Ended {
        return Err(NotFinalized::Ended(session.ended_at.unwrap_or(session.last_event_at)));
    }
    let event = end_of(&session, at.unwrap_or(session.last_event_at), reason);
    check_decoding(decoder, &event)?;
    if let Some(why) = why_it_would_not_end(store, aggregators, &event).await? {
        return Err(NotFinalized::WouldNotEnd { at: event.emitted_at, why, last: session.last_event_at });
    }
    Ok(event)
}

fn end_of(session: &SessionView, at: EventTime, reason: RedactedText) -> Event {
    let id = Uuid::now_v7();
    Event {
        session_id: session.session_id.clone(),
        entity_id: id,
        correlation_id: session.correlation_id,
        causation_id: id,
        emitted_at: at,
        task_id: session.task_id.as_deref().and_then(|task| TaskId::parse(task).ok()),
        action_description: reason,
        body: Body::Ended(Ended {
            reason: EndReason::Other,
            // It follows from the session's start.
            duration_seconds: None,
            tools_used_count: Count::new(session.tools_used_count).unwrap_or_default(),
        }),
    }
}

fn check_decoding(decoder: &Decoder, event: &Event) -> Result<(), NotFinalized> {
    let value = event.to_json().to_string();
    let timestamp = RecordTimestamp::from_millis(Utc::now().timestamp_millis());
    match decoder.decode(WireRecord { value: Some(value.as_bytes()), kind_header: None, timestamp }) {
        Decoded::Refused(refusal) => {
            Err(NotFinalized::Refused { reason: refusal.reason.as_str(), detail: refusal.detail.into_owned() })
        }
        Decoded::Event(_) | Decoded::Ignored => Ok(()),
    }
}

/// None where the event does end it.
async fn why_it_would_not_end<A: SessionAggregator>(
    store: &Store,
    aggregators: &Aggregators<A>,
    event: &Event,
) -> Result<Option<String>, StoreError> {
    let standing = store.standing(aggregators, &Wanted::everything_of(vec![event])).await?;
    let mut fold = BatchFold::new(aggregators, standing);
    fold.push(event);
    let folded = store.finish_fold(fold).await?;
    if let Some((_, rejection)) = folded.outcome.rejected.first() {
        return Ok(Some(format!("the aggregator {} rejects it ({rejection})", aggregators.session.id())));
    }
    let change = folded.changes.iter().find(|change| change.session_id == event.session_id);
    let status = change.map(|change| change.folded.snapshot().status);
    if status == Some(Status::Ended) {
        return Ok(None);
    }
    let last = store.last_events(&event.session_id).await?;
    let is_after = |time: &EventTime| time.is_later_by_more_than(Duration::ZERO, event.emitted_at);
    Ok(Some(match (last.start.filter(is_after), last.activity.filter(is_after)) {
        (Some(start), _) => format!("it started again at {start}"),
        (None, Some(activity)) => {
            format!("its last prompt or tool execution is of {activity}, longer after that than the reopen grace")
        }
        (None, None) => "what is stored of it says otherwise".to_owned(),
    }))
}
