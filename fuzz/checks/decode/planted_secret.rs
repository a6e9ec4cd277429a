//! A secret that stands in a text never comes out of decoding.
//!
//! The text is noise, a separator, the secret, a separator, noise. The law: neither end of the secret's core is in any
//! text of the event, nor in what its `Debug` prints, whatever the noise. It holds for secrets of the forms below
//! between the separators below. It could not hold for all: rules are applied in an order and never overlap, so that an
//! earlier match which takes a part of a secret may leave the rest unrecognised. What keeps matches apart is said with
//! each form.

mod form;

use serde_json::{Value, json};
use sessionfold::event::{Body, Decoded, Decoder, Event, EventKind, Reason, WireRecord};

use super::{super::input::Input, refusal, round_trip};
use form::{CORE_END, CORE_START, Form};

/// Where the text stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    ActionDescription,
    PromptPreview,
    DetectedIntent,
    Summary,
    /// A refusal shows the name of an unknown member.
    MemberName,
}

impl Place {
    const ALL: [Place; 5] =
        [Place::ActionDescription, Place::PromptPreview, Place::DetectedIntent, Place::Summary, Place::MemberName];

    fn kind(self) -> EventKind {
        match self {
            Place::ActionDescription => EventKind::Ended,
            Place::PromptPreview | Place::DetectedIntent => EventKind::Prompt,
            Place::Summary => EventKind::Tool,
            Place::MemberName => EventKind::Started,
        }
    }

    /// The member that holds the text, and how many characters it may have.
    fn member(self, text: &str) -> (&str, usize) {
        match self {
            Place::ActionDescription => ("action_description", 160),
            Place::PromptPreview => ("prompt_preview", usize::MAX),
            Place::DetectedIntent => ("detected_intent", usize::MAX),
            Place::Summary => ("summary", 500),
            Place::MemberName => (text, usize::MAX),
        }
    }
}

pub(super) fn check(mut input: Input<'_>) {
    let place = input.one_of(&Place::ALL);
    let form = Form::read(&mut input);
    let before = input.one_of(form.before);
    let after = input.one_of(form.after);
    let noise = [input.part(), input.part()].map(|noise| String::from_utf8_lossy(noise).into_owned());
    let excluded =
        |noise: &String| noise.contains(CORE_START) || noise.contains(CORE_END) || noise.contains(form.not_in_noise);
    if noise.iter().any(excluded) {
        return;
    }
    let [noise_before, noise_after] = noise;
    let text = format!("{noise_before}{before}{}{after}{noise_after}", form.secret);

    let (name, limit) = place.member(&text);
    let envelope = envelope(place.kind(), name, &text).to_string();
    let record = WireRecord { value: Some(envelope.as_bytes()), ..WireRecord::default() };
    let decoded = Decoder::default().decode(record);
    let printed = format!("{decoded:?}");
    assert!(!printed.contains(CORE_START) && !printed.contains(CORE_END), "{text:?} gave {printed}");
    match decoded {
        Decoded::Event(event) => {
            assert!(place != Place::MemberName && text.chars().count() <= limit, "accepted: {text:?}");
            assert_masked(&event, &text);
            round_trip::check(&event);
        }
        Decoded::Refused(refused) => {
            assert!(place == Place::MemberName || text.chars().count() > limit, "{refused:?}: {text:?}");
            assert_eq!(refused.reason, Reason::Schema);
            refusal::check(&refused);
        }
        Decoded::Ignored => panic!("ignored: {envelope}"),
    }
}

/// `Debug` escapes, so the texts themselves are looked at too. That a mask is in place of the secret shows that the text
/// was not just dropped; a preview may be cut before it.
fn assert_masked(event: &Event, text: &str) {
    let mut texts = vec![&event.action_description];
    match &event.body {
        Body::Prompt(prompt) => texts.extend(prompt.detected_intent.iter()),
        Body::Tool(tool) => texts.extend(tool.summary.iter()),
        Body::Started(_) | Body::Ended(_) => {}
    }
    let is_preview = match &event.body {
        Body::Prompt(prompt) => {
            texts.push(&prompt.prompt_preview);
            prompt.detected_intent.is_none()
        }
        _ => false,
    };
    let leaked = |secret: &str| texts.iter().any(|text| text.as_str().contains(secret));
    assert!(!leaked(CORE_START) && !leaked(CORE_END), "{text:?} gave {texts:?}");
    assert!(is_preview || leaked("***REDACTED***"), "{text:?} gave {texts:?}");
}

/// A good event but for the member `name`, which holds the text.
fn envelope(kind: EventKind, name: &str, text: &str) -> Value {
    const ID: &str = "00000000-0000-4000-8000-000000000000";
    let own = match kind {
        EventKind::Started => json!({"working_directory": "/", "hook_source": "startup"}),
        EventKind::Ended => json!({"reason": "other"}),
        EventKind::Prompt => json!({"prompt_id": ID, "prompt_preview": "", "prompt_length": 0}),
        EventKind::Tool => json!({"tool_execution_id": ID, "tool_name": "Bash"}),
    };
    let mut payload = json!({
        "entity_id": ID,
        "session_id": "session",
        "correlation_id": ID,
        "causation_id": ID,
        "emitted_at": "2026-03-01T09:00:00Z",
    });
    if let (Some(payload), Value::Object(own)) = (payload.as_object_mut(), own) {
        payload.extend(own);
        payload.insert(name.to_owned(), text.into());
    }
    json!({"event_type": kind.as_str(), "payload": payload})
}
