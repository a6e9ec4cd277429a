//! Events as a producer writes them: unchecked, unredacted texts.

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use serde::Serialize;
use uuid::Uuid;

use super::random::Random;
use crate::event::EventKind;

#[derive(Clone, Serialize)]
pub(super) struct Payload {
    /// The instant that `emitted_at` writes down.
    #[serde(skip)]
    pub at: DateTime<Utc>,
    pub entity_id: Uuid,
    pub session_id: String,
    pub correlation_id: Uuid,
    pub causation_id: Uuid,
    pub emitted_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task_id: Option<String>,
    pub action_description: String,
    #[serde(flatten)]
    pub body: Body,
}

#[derive(Clone, Serialize)]
#[serde(untagged)]
pub(super) enum Body {
    Started {
        working_directory: String,
        git_branch: Option<String>,
        hook_source: &'static str,
    },
    Prompt {
        prompt_id: Uuid,
        prompt_preview: String,
        prompt_length: u64,
        detected_intent: Option<&'static str>,
    },
    Tool {
        tool_execution_id: Uuid,
        tool_name: &'static str,
        success: bool,
        duration_ms: Option<u64>,
        summary: Option<String>,
    },
    Ended {
        reason: &'static str,
        duration_seconds: Option<f64>,
        tools_used_count: usize,
    },
}

#[derive(Serialize)]
struct Envelope<'a> {
    event_type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    schema_version: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<&'static str>,
    payload: &'a Payload,
}

impl Payload {
    pub(super) fn kind(&self) -> EventKind {
        match self.body {
            Body::Started { .. } => EventKind::Started,
            Body::Prompt { .. } => EventKind::Prompt,
            Body::Tool { .. } => EventKind::Tool,
            Body::Ended { .. } => EventKind::Ended,
        }
    }

    /// `terse` leaves out what has a default.
    pub(super) fn envelope(&self, terse: bool) -> Vec<u8> {
        let written = |text| if terse { None } else { Some(text) };
        to_json(&Envelope {
            event_type: self.kind().as_str(),
            schema_version: written("1.0.0"),
            source: written("omniclaude"),
            payload: self,
        })
    }

    pub(super) fn bare(&self) -> Vec<u8> {
        to_json(self)
    }

    pub(super) fn move_to(&mut self, at: DateTime<Utc>) {
        self.at = at;
        self.emitted_at = at.to_rfc3339_opts(SecondsFormat::Micros, true);
    }
}

#[expect(clippy::expect_used, reason = "structs of texts and numbers always have a JSON form")]
fn to_json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("no maps with other keys than texts")
}

/// One of the ways in which producers write an instant.
pub(super) fn time_text(random: &mut Random, at: DateTime<Utc>) -> String {
    match random.between(0..=99) {
        0..80 => at.to_rfc3339_opts(SecondsFormat::Micros, true),
        80..90 => at.to_rfc3339_opts(SecondsFormat::Micros, false),
        90..95 => at.format("%Y-%m-%dT%H:%M:%S%.6f").to_string(),
        95..98 => (at + TimeDelta::hours(2)).format("%Y-%m-%d %H:%M:%S%.6f+02:00").to_string(),
        _ => at.format("%Y-%m-%dT%H:%M:%S%.9fZ").to_string(),
    }
}
