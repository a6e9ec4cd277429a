//! A digest of a set of events, by which two sets are compared without looking at the events.

use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use super::{Body, Event};

/// The sum, modulo 2^128, of the digests of a set's events: adding is commutative, so the order doesn't matter. An event's
/// digest is the first 16 bytes of the SHA-256 over all of its fields as they are stored.
///
/// It tells sets apart that differ by accident. It is no proof against somebody who makes up events to that end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct EventSetDigest(u128);

impl EventSetDigest {
    /// The digest of the set of this one event.
    pub fn of(event: &Event) -> Self {
        Self(digest(event))
    }

    /// The digest of both sets together, which have no event in common.
    #[must_use]
    pub fn with(self, other: Self) -> Self {
        Self(self.0.wrapping_add(other.0))
    }

    /// Takes in an event that isn't in the set yet.
    pub fn add(&mut self, event: &Event) {
        *self = self.with(Self::of(event));
    }

    /// The bytes that are stored.
    pub fn to_bytes(self) -> [u8; 16] {
        self.0.to_be_bytes()
    }

    /// The inverse of [`Self::to_bytes`]; none where the length is another.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        Some(Self(u128::from_be_bytes(bytes.try_into().ok()?)))
    }
}

impl std::fmt::Display for EventSetDigest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// The patterns name every field, so that a new one can't be forgotten.
fn digest(event: &Event) -> u128 {
    let Event { session_id, entity_id, correlation_id, causation_id, emitted_at, task_id, action_description, body } =
        event;
    let mut fields = Fields(Vec::with_capacity(USUAL_BYTES));
    fields.text(session_id.as_str());
    fields.id(*entity_id);
    fields.id(*correlation_id);
    fields.id(*causation_id);
    fields.number(emitted_at.micros_since_epoch());
    fields.nullable(task_id.as_ref().map(|task| task.as_str()));
    fields.text(action_description.as_str());
    add_body(&mut fields, body);
    fields.finish()
}

fn add_body(fields: &mut Fields, body: &Body) {
    match body {
        Body::Started(super::Started { working_directory, git_branch, hook_source }) => {
            fields.text("started");
            fields.text(working_directory.as_str());
            fields.nullable(git_branch.as_ref().map(|branch| branch.as_str()));
            fields.text(hook_source.as_str());
        }
        Body::Prompt(super::Prompt { prompt_id, prompt_preview, prompt_length, detected_intent }) => {
            fields.text("prompt");
            fields.id(*prompt_id);
            fields.text(prompt_preview.as_str());
            fields.number(prompt_length.get());
            fields.nullable(detected_intent.as_ref().map(|intent| intent.as_str()));
        }
        Body::Tool(super::Tool { tool_execution_id, tool_name, success, duration_ms, summary }) => {
            fields.text("tool");
            fields.id(*tool_execution_id);
            fields.text(tool_name.as_str());
            fields.number(i64::from(*success));
            fields.number(duration_ms.map_or(-1, |millis| i64::from(millis.get())));
            fields.nullable(summary.as_ref().map(|summary| summary.as_str()));
        }
        Body::Ended(super::Ended { reason, duration_seconds, tools_used_count }) => {
            fields.text("ended");
            fields.text(reason.as_str());
            // Never negative nor NaN, so -1 stands for null.
            fields.bytes(&duration_seconds.map_or(-1.0, |seconds| seconds.get()).to_be_bytes());
            fields.number(tools_used_count.get());
        }
    }
}

/// Fields one after the other, each of a fixed length or with its length before it, so that no two lists of fields
/// look alike. They are gathered first, since the hash takes one long text in less time than many short ones.
struct Fields(Vec<u8>);

/// An event's fields are hardly longer.
const USUAL_BYTES: usize = 512;

impl Fields {
    fn bytes(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    fn id(&mut self, id: Uuid) {
        self.bytes(id.as_bytes());
    }

    fn number(&mut self, number: i64) {
        self.bytes(&number.to_be_bytes());
    }

    fn text(&mut self, text: &str) {
        self.bytes(&(text.len() as u64).to_be_bytes());
        self.bytes(text.as_bytes());
    }

    fn nullable(&mut self, text: Option<&str>) {
        match text {
            None => self.bytes(&u64::MAX.to_be_bytes()),
            Some(text) => self.text(text),
        }
    }

    fn finish(self) -> u128 {
        let mut first = [0; 16];
        first.copy_from_slice(&Sha256::digest(&self.0)[..16]);
        u128::from_be_bytes(first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Decoded, Decoder, WireRecord};

    fn prompt(length: u32) -> Event {
        let text = format!(
            r#"{{"event_type": "hook.prompt.submitted", "payload": {{"session_id": "s", "emitted_at": "2026-03-01T09:00:00Z",
            "entity_id": "{id}", "correlation_id": "{id}", "causation_id": "{id}", "prompt_id": "{id}",
            "prompt_preview": "p", "prompt_length": {length}}}}}"#,
            id = Uuid::nil()
        );
        match Decoder::default().decode(WireRecord { value: Some(text.as_bytes()), ..WireRecord::default() }) {
            Decoded::Event(event) => event,
            other => panic!("{other:?}"),
        }
    }

    fn of(lengths: impl Iterator<Item = u32>) -> EventSetDigest {
        let mut digest = EventSetDigest::default();
        lengths.for_each(|length| digest.add(&prompt(length)));
        digest
    }

    #[test]
    fn a_set_has_one_digest_in_whatever_order_it_was_gathered() {
        assert_eq!(of(0..10), of((0..10).rev()));
        assert_ne!(of(0..10), of(0..9));
        assert_ne!(of(0..10), of(1..11));
    }

    /// Stored digests outlive the build that made them.
    #[test]
    fn the_digest_of_an_event_never_changes() {
        assert_eq!(of(1..2).to_string(), "d348409c2f8125fed057b63730f9fc8d");
    }
}
