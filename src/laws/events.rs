//! Made-up events that get in each other's way.
#![expect(clippy::expect_used, reason = "the texts, times and numbers made up here are within their ranges")]

use proptest::{option, prelude::*};
use uuid::Uuid;

use crate::event::{
    Body, BoundedText, Count, DurationMs, DurationSeconds, EndReason, Ended, Event, EventTime, HookSource, Prompt,
    RedactedText, SessionId, Started, Tool,
};

/// An event of one of two sessions. Ranges are small, so that keys collide, times tie, and versions of one event
/// compete; but numbers are also some thousands, so that a sum of fractions shows its order. Every field varies. Times lie
/// within 90 seconds of one midnight.
pub fn events() -> impl Strategy<Value = Event> {
    let ids = (0..2_u8, 0..3_u128, 0..4_u128, 0..3_u128);
    (ids, -90..90_i64, option::of(0..2_u8), redacted(), bodies()).prop_map(
        |((session, correlation, causation, entity), seconds, task, action_description, body)| Event {
            session_id: SessionId::parse(&format!("s{session}")).expect("a session id"),
            entity_id: Uuid::from_u128(entity),
            correlation_id: Uuid::from_u128(correlation),
            causation_id: Uuid::from_u128(causation),
            emitted_at: around_midnight(seconds),
            task_id: task.map(|task| text("task", task)),
            action_description,
            body,
        },
    )
}

fn redacted() -> impl Strategy<Value = RedactedText> {
    prop::sample::select(vec!["", "one thing", "another thing"]).prop_map(RedactedText::of)
}

/// Mostly few, so that they tie.
fn number() -> impl Strategy<Value = i64> {
    prop_oneof![3 => 0..3_i64, 1 => 0..5_000_i64]
}

fn around_midnight(seconds: i64) -> EventTime {
    let midnight = EventTime::parse("2026-03-01T00:00:00Z").expect("a time");
    EventTime::from_utc(midnight.as_utc() + chrono::TimeDelta::seconds(seconds)).expect("a time")
}

fn text<const MIN: usize, const MAX: usize>(what: &str, number: u8) -> BoundedText<MIN, MAX> {
    BoundedText::parse(format!("{what} {number}")).expect("a short text")
}

fn bodies() -> impl Strategy<Value = Body> {
    prop_oneof![starts(), prompts(), tools(), ends()]
}

fn starts() -> impl Strategy<Value = Body> {
    let sources = prop::sample::select(HookSource::ALL);
    (0..3_u8, option::of(0..3_u8), sources).prop_map(|(directory, branch, hook_source)| {
        Body::Started(Started {
            working_directory: text("directory", directory),
            git_branch: branch.map(|branch| text("branch", branch)),
            hook_source,
        })
    })
}

fn prompts() -> impl Strategy<Value = Body> {
    (0..4_u128, number(), redacted(), option::of(redacted())).prop_map(|(id, length, preview, detected_intent)| {
        Body::Prompt(Prompt {
            prompt_id: Uuid::from_u128(id),
            prompt_preview: preview,
            prompt_length: Count::new(length).expect("a count"),
            detected_intent,
        })
    })
}

fn tools() -> impl Strategy<Value = Body> {
    let outcome = (any::<bool>(), option::of(number()), option::of(redacted()));
    (0..4_u128, 0..3_u8, outcome).prop_map(|(id, name, (success, duration, summary))| {
        Body::Tool(Tool {
            tool_execution_id: Uuid::from_u128(id),
            tool_name: text("tool", name),
            success,
            duration_ms: duration.map(|millis| DurationMs::new(millis).expect("a duration")),
            summary,
        })
    })
}

fn ends() -> impl Strategy<Value = Body> {
    let reasons = prop::sample::select(EndReason::ALL);
    (reasons, option::of(0..3_u8), number()).prop_map(|(reason, duration, tools)| {
        Body::Ended(Ended {
            reason,
            duration_seconds: duration.map(|seconds| DurationSeconds::new(seconds.into()).expect("a duration")),
            tools_used_count: Count::new(tools).expect("a count"),
        })
    })
}
