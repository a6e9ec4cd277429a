//! An input as a list of things that happen. The ranges are small, so that keys collide, times tie and versions of one
//! event compete.

use chrono::DateTime;
use sessionfold::event::{
    Body, BoundedText, Count, DurationSeconds, EndReason, Ended, Event, EventTime, HookSource, Prompt, RedactedText,
    SessionId, Started, Tool,
};
use uuid::Uuid;

use super::super::input::Input;

pub(super) struct Script {
    /// When time-outs are asked about.
    pub(super) as_of: EventTime,
    pub(super) steps: Vec<Step>,
}

pub(super) enum Step {
    Batch(Vec<Event>),
    /// The stored states are those of another version of the aggregator.
    OutdateSessions,
    /// So are those of the aggregator beside it.
    OutdateSides,
}

impl Script {
    pub(super) fn read(mut input: Input<'_>) -> Self {
        let as_of = at(i64::from(i16::from_be_bytes([input.byte(), input.byte()])), 0);
        let (mut steps, mut batch, mut sent) = (Vec::new(), Vec::new(), Vec::new());
        while !input.is_empty() {
            match input.byte() % 8 {
                0 => steps.push(Step::Batch(std::mem::take(&mut batch))),
                1 => steps.push(Step::OutdateSessions),
                2 => steps.push(Step::OutdateSides),
                3 if !sent.is_empty() => {
                    let again: &Event = &sent[usize::from(input.byte()) % sent.len()];
                    batch.push(again.clone());
                }
                _ => {
                    let event = event(&mut input);
                    batch.push(event.clone());
                    sent.push(event);
                }
            }
        }
        steps.push(Step::Batch(batch));
        Self { as_of, steps }
    }
}

fn event(input: &mut Input<'_>) -> Event {
    Event {
        session_id: SessionId::parse(input.one_of(&["a", "b"])).expect("a session's id"),
        entity_id: small_id(input),
        correlation_id: small_id(input),
        causation_id: small_id(input),
        emitted_at: at(i64::from(input.byte().cast_signed()), input.one_of(&[0, 1])),
        task_id: nullable_text(input),
        action_description: RedactedText::of(""),
        body: body(input),
    }
}

/// Two minutes either way reach over the grace in which a session is not reopened.
fn at(seconds: i64, micros: u32) -> EventTime {
    let instant = DateTime::from_timestamp(1_772_355_600 + seconds, micros * 1_000).expect("a time");
    EventTime::from_utc(instant).expect("a year of four digits")
}

fn small_id(input: &mut Input<'_>) -> Uuid {
    Uuid::from_u128((input.byte() % 4).into())
}

fn body(input: &mut Input<'_>) -> Body {
    match input.byte() % 4 {
        0 => Body::Started(Started {
            working_directory: text(input),
            git_branch: nullable_text(input),
            hook_source: input.one_of(HookSource::ALL),
        }),
        1 => Body::Ended(Ended {
            reason: input.one_of(EndReason::ALL),
            duration_seconds: input.one_of(&[None, Some(0.0), Some(1.5)]).map(duration),
            tools_used_count: Count::new(0).expect("a count"),
        }),
        2 => Body::Prompt(Prompt {
            prompt_id: small_id(input),
            prompt_preview: RedactedText::preview_of(""),
            prompt_length: Count::new((input.byte() % 4).into()).expect("a count"),
            detected_intent: None,
        }),
        _ => Body::Tool(Tool {
            tool_execution_id: small_id(input),
            tool_name: BoundedText::parse(input.one_of(&["Bash", "Edit", "Read"])).expect("a tool's name"),
            success: input.flag(),
            duration_ms: None,
            summary: None,
        }),
    }
}

fn duration(seconds: f64) -> DurationSeconds {
    DurationSeconds::new(seconds).expect("a duration")
}

/// An empty text is one, too.
fn text<const MAX: usize>(input: &mut Input<'_>) -> BoundedText<0, MAX> {
    BoundedText::parse(input.one_of(&["", "x", "y"])).expect("a text")
}

fn nullable_text<const MAX: usize>(input: &mut Input<'_>) -> Option<BoundedText<0, MAX>> {
    input.flag().then(|| text(input))
}
