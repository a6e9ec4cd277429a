//! An event that is encoded and decoded again.
//!
//! The law: every field comes back as it was, but for the four redacted texts, which are redacted once more, since they
//! are texts as received now. A text that redaction leaves as it is comes back equal too. Others exist: what an earlier
//! rule or the cut of a preview has put there may look like a secret to a later one. And a mask may be longer than the
//! secret was, so that `action_description` or `summary` may be over its limit now, and is refused for that.

use sessionfold::event::{Body, Decoded, Decoder, Event, InvalidText, Reason, RedactedText, Refusal, WireRecord};

use super::super::storable;

pub(super) fn check(event: &Event) {
    let json = event.to_json();
    storable::assert_json(&json);
    let value = json.to_string();
    let record = WireRecord { value: Some(value.as_bytes()), ..WireRecord::default() };
    assert_eq!(Decoder::default().decode(record), expected(event), "{value}");
}

fn expected(event: &Event) -> Decoded {
    let mut again = event.clone();
    again.action_description = RedactedText::of(again.action_description.as_str());
    match &mut again.body {
        Body::Prompt(prompt) => {
            prompt.prompt_preview = RedactedText::preview_of(prompt.prompt_preview.as_str());
            prompt.detected_intent = prompt.detected_intent.as_ref().map(|intent| RedactedText::of(intent.as_str()));
        }
        Body::Tool(tool) => tool.summary = tool.summary.as_ref().map(|summary| RedactedText::of(summary.as_str())),
        Body::Started(_) | Body::Ended(_) => {}
    }
    let summary = match &event.body {
        Body::Tool(tool) => tool.summary.as_ref(),
        _ => None,
    };
    let too_long = |name: &str, text: &RedactedText, max: usize| {
        let detail = InvalidText::TooLong(max).to_string();
        let refusal = Refusal::new(Reason::Schema, detail).at(format!("payload.{name}"));
        text.as_str().chars().nth(max).map(|_| Decoded::Refused(refusal))
    };
    too_long("action_description", &event.action_description, 160)
        .or_else(|| too_long("summary", summary?, 500))
        .unwrap_or(Decoded::Event(again))
}
