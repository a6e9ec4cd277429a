//! The domain's rules, vector by vector: `tests/reference/*.jsonl`.

use chrono::DateTime;
use serde_json::Value;
use sessionfold::{
    event::{Body, Decoded, Decoder, Event, EventTime, RecordTimestamp, RedactedText, WireRecord, redact},
    fold::{Aggregators, BatchFold, Convergent, Folded, Reference, ReferenceState, Snapshot, Standing, fold_session},
};

fn vectors(name: &str) -> Vec<Value> {
    let path = format!("{}/tests/reference/{name}.jsonl", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    let vectors: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(!vectors.is_empty());
    vectors
}

fn decode(text: &str) -> Decoded {
    Decoder::default().decode(WireRecord { value: Some(text.as_bytes()), ..WireRecord::default() })
}

fn event(value: &Value) -> Event {
    match decode(&value.to_string()) {
        Decoded::Event(event) => event,
        other => panic!("{value}: {other:?}"),
    }
}

/// Writes the times and numbers of a JSON object in one form: times are equal as instants, 0 is 0.0.
fn normalized(mut value: Value) -> Value {
    fn visit(value: &mut Value) {
        match value {
            Value::Object(members) => members.values_mut().for_each(visit),
            Value::Array(items) => items.iter_mut().for_each(visit),
            Value::String(text) => {
                if let Ok(instant) = DateTime::parse_from_rfc3339(text) {
                    *text = instant.to_utc().to_rfc3339();
                }
            }
            Value::Number(number) => *value = number.as_f64().into(),
            _ => {}
        }
    }
    visit(&mut value);
    value
}

#[test]
fn every_validation_vector_is_judged_and_normalized_as_it_says() {
    for vector in vectors("validation") {
        let name = &vector["name"];
        match (decode(vector["input"].as_str().unwrap()), vector["valid"].as_bool().unwrap()) {
            (Decoded::Event(event), true) => {
                assert_eq!(normalized(event.to_json()), normalized(vector["normalized"].clone()), "{name}");
            }
            (Decoded::Refused(_), false) => {}
            (decoded, _) => panic!("{name}: {decoded:?}"),
        }
    }
}

#[test]
fn what_the_document_for_producers_shows_is_an_event() {
    let text = include_str!("../docs/events.md");
    let examples: Vec<&str> =
        text.split("```json\n").skip(1).map(|rest| rest.split("```").next().unwrap_or_default()).collect();
    assert!(!examples.is_empty());
    for example in examples {
        assert!(matches!(decode(example), Decoded::Event(_)), "{example}");
    }
}

#[test]
fn every_edge_of_validation_is_refused_for_the_reason_that_it_names() {
    for vector in vectors("validation_edges") {
        let reason = match decode(vector["input"].as_str().unwrap()) {
            Decoded::Event(_) => None,
            Decoded::Refused(refusal) => Some(refusal.reason.as_str()),
            Decoded::Ignored => panic!("{vector}"),
        };
        assert_eq!(reason, vector["reason"].as_str(), "{}", vector["name"]);
    }
}

#[test]
fn every_redaction_vector_comes_out_as_it_says() {
    for vector in vectors("redaction") {
        let text = vector["text"].as_str().unwrap();
        assert_eq!(redact(text), vector["redacted"].as_str().unwrap(), "{text}");
        assert_eq!(RedactedText::preview_of(text).as_str(), vector["preview"].as_str().unwrap(), "{text}");
    }
}

#[test]
fn every_valid_vector_decodes_to_itself_once_encoded() {
    let inputs = vectors("validation").into_iter().chain(vectors("validation_edges"));
    for vector in inputs {
        if let Decoded::Event(event) = decode(vector["input"].as_str().unwrap()) {
            assert_eq!(decode(&event.to_json().to_string()), Decoded::Event(event.clone()), "{}", vector["name"]);
        }
    }
}

#[test]
fn every_session_of_the_convergent_vectors_folds_to_its_snapshot() {
    for vector in vectors("convergent_fold") {
        let events: Vec<Event> = vector["events"].as_array().unwrap().iter().map(event).collect();
        let seconds = |name: &str| std::time::Duration::from_secs(vector[name].as_u64().unwrap());
        let aggregator = Convergent {
            inactivity_timeout: seconds("inactivity_timeout_seconds"),
            reopen_grace: seconds("reopen_grace_seconds"),
        };
        let as_of = vector["as_of"].as_str().map(|text| EventTime::parse(text).unwrap());
        let folded = fold_session(&aggregator, &events, as_of).unwrap();
        assert_snapshot(&folded, &vector);
        let backwards: Vec<Event> = events.into_iter().rev().collect();
        assert_snapshot(&fold_session(&aggregator, &backwards, as_of).unwrap(), &vector);
    }
}

fn assert_snapshot(folded: &Snapshot, vector: &Value) {
    let mut expected = normalized(vector["snapshot"].clone());
    expected.as_object_mut().unwrap().remove("session_id");
    let mut actual = normalized(serde_json::to_value(folded).unwrap());
    actual["end_provenance"] = folded
        .end_cause
        .map(|cause| cause.provenance())
        .map_or(Value::Null, |provenance| serde_json::to_value(provenance).unwrap());
    assert_eq!(actual, expected, "case {}", vector["case"]);
}

#[test]
fn a_bare_payload_takes_its_kind_from_the_header_and_an_envelope_from_itself() {
    let envelope = vectors("validation").into_iter().find(|vector| vector["valid"] == true).unwrap();
    let envelope: Value = serde_json::from_str(envelope["input"].as_str().unwrap()).unwrap();
    let decode = |value: &Value, header: Option<Option<&[u8]>>| {
        let bytes = value.to_string().into_bytes();
        Decoder::default().decode(WireRecord { value: Some(&bytes), kind_header: header, timestamp: None })
    };
    let expected = Decoded::Event(event(&envelope));
    let kind = envelope["event_type"].as_str().unwrap().as_bytes();
    assert_eq!(decode(&envelope["payload"], Some(Some(kind))), expected);
    assert_eq!(decode(&envelope, Some(Some(b"hook.unknown"))), expected);

    let reason = |decoded: Decoded| match decoded {
        Decoded::Refused(refusal) => (refusal.reason.as_str(), refusal.field_path.unwrap()),
        other => panic!("{other:?}"),
    };
    let bare = &envelope["payload"];
    assert_eq!(reason(decode(bare, None)), ("schema", "event_type".into()));
    assert_eq!(reason(decode(bare, Some(None))), ("schema", "headers.event_type".into()));
    assert_eq!(reason(decode(bare, Some(Some(b"\xff")))), ("schema", "headers.event_type".into()));
    assert_eq!(reason(decode(bare, Some(Some(b"x")))), ("unknown_event_type", "headers.event_type".into()));
}

#[test]
fn the_header_is_asked_for_only_where_the_value_is_no_envelope() {
    let texts = vectors("validation").into_iter().filter_map(|vector| Some(vector["input"].as_str()?.to_owned()));
    let (mut asked, mut not_asked) = (0, 0);
    for text in texts {
        let is_bare = serde_json::from_str::<Value>(&text).is_ok_and(|value| {
            value
                .as_object()
                .is_some_and(|members| !members.contains_key("event_type") && !members.contains_key("payload"))
        });
        let mut asks = 0;
        let _ = Decoder::default().decode_finding_header(Some(text.as_bytes()), None, || {
            asks += 1;
            None
        });
        assert_eq!(asks, i32::from(is_bare), "{text}");
        if is_bare { asked += 1 } else { not_asked += 1 }
    }
    assert!(asked > 0 && not_asked > 0, "{asked} {not_asked}");
}

#[test]
fn a_refusal_names_the_member_at_fault_and_never_its_value() {
    let secret = "hunter2hunter2";
    let mut envelope = vectors("validation").remove(0)["input"]
        .as_str()
        .map(|text| serde_json::from_str::<Value>(text).unwrap())
        .unwrap();
    envelope["payload"]["hook_source"] = secret.into();
    let Decoded::Refused(refusal) = decode(&envelope.to_string()) else { panic!() };
    assert_eq!(refusal.field_path.as_deref(), Some("payload.hook_source"));
    assert!(!format!("{refusal:?}").contains(secret));
    envelope["payload"][format!("password={secret}")] = 1.into();
    let Decoded::Refused(refusal) = decode(&envelope.to_string()) else { panic!() };
    assert!(!format!("{refusal:?}").contains(secret), "{refusal:?}");
}

#[test]
fn a_value_of_exactly_the_largest_size_passes_and_one_byte_more_does_not() {
    let text = vectors("validation").remove(0)["input"].as_str().unwrap().to_owned();
    let decode = |max_value_bytes| {
        let decoder = Decoder { max_value_bytes, ..Decoder::default() };
        decoder.decode(WireRecord { value: Some(text.as_bytes()), ..WireRecord::default() })
    };
    assert!(matches!(decode(text.len()), Decoded::Event(_)));
    let Decoded::Refused(refusal) = decode(text.len() - 1) else { panic!() };
    assert_eq!(refusal.reason.as_str(), "too_large");
}

#[test]
fn an_event_ahead_of_its_record_is_refused_beyond_the_tolerance_and_only_where_the_record_has_a_time() {
    let vector = vectors("validation").remove(0);
    let text = vector["input"].as_str().unwrap();
    let emitted = event(&serde_json::from_str(text).unwrap()).emitted_at.micros_since_epoch() / 1_000;
    let decode = |timestamp| {
        Decoder::default().decode(WireRecord { value: Some(text.as_bytes()), kind_header: None, timestamp })
    };
    assert!(matches!(decode(RecordTimestamp::from_millis(emitted - 30_000)), Decoded::Event(_)));
    let Decoded::Refused(refusal) = decode(RecordTimestamp::from_millis(emitted - 30_001)) else { panic!() };
    assert_eq!(
        (refusal.reason.as_str(), refusal.field_path.as_deref()),
        ("future_timestamp", Some("payload.emitted_at"))
    );
    assert!(matches!(decode(RecordTimestamp::from_millis(-1)), Decoded::Event(_)));
}

#[test]
fn a_kind_to_ignore_may_have_any_shape() {
    let decoder = Decoder { ignored_kinds: ["hook.heartbeat".to_owned()].into(), ..Decoder::default() };
    let value = br#"{"event_type":"hook.heartbeat","anything":[1,2]}"#;
    let record = WireRecord { value: Some(value), ..WireRecord::default() };
    assert_eq!(decoder.decode(record), Decoded::Ignored);
}

#[test]
fn every_case_of_the_reference_vectors_accepts_and_rejects_as_it_says() {
    for vector in vectors("reference_aggregation") {
        let events: Vec<Event> = vector["events"].as_array().unwrap().iter().map(event).collect();
        let aggregators = Aggregators::new(Reference::default());
        let mut fold = BatchFold::new(&aggregators, Standing::default());
        events.iter().for_each(|event| fold.push(event));
        let folded = fold.finish(std::iter::empty());
        assert_reference_case(&events, &folded, &vector);
    }
}

fn assert_reference_case(events: &[Event], folded: &Folded<'_, ReferenceState>, vector: &Value) {
    let case = &vector["case"];
    let is_rejected = |index: usize| folded.outcome.rejected.iter().any(|(rejected, _)| *rejected == index);
    let accepted: Vec<bool> = (0..events.len()).map(|index| !is_rejected(index)).collect();
    assert_eq!(serde_json::json!(accepted), vector["accepted"], "case {case}");

    let snapshot = |id: &str| {
        let change = folded.changes.iter().find(|change| change.session_id.as_str() == id).unwrap();
        (change.folded.snapshot().clone(), &change.added)
    };
    let expected = vector["snapshots"].as_array().unwrap();
    assert_eq!(folded.changes.len(), expected.len(), "case {case}");
    let mut finalized = 0;
    for expected in expected {
        let (snapshot, added) = snapshot(expected["session_id"].as_str().unwrap());
        finalized += u64::from(snapshot.ended_at.is_some());
        let mut actual = serde_json::to_value(&snapshot).unwrap();
        actual["session_id"] = expected["session_id"].clone();
        actual["prompts"] = payloads(added, &expected["prompts"], |body| matches!(body, Body::Prompt(_)));
        actual["tools"] = payloads(added, &expected["tools"], |body| matches!(body, Body::Tool(_)));
        let expected = normalized(expected.clone());
        let members = actual.as_object_mut().unwrap();
        members.retain(|name, _| expected.get(name).is_some());
        assert_eq!(normalized(actual), expected, "case {case}");
    }
    let outcome = &folded.outcome;
    let metrics = serde_json::json!({
        "events_processed": outcome.applied,
        "events_rejected": outcome.rejected.len() + usize::try_from(outcome.duplicates).unwrap(),
        "sessions_created": folded.changes.len(),
        "sessions_finalized": finalized,
    });
    assert_eq!(metrics, vector["metrics"], "case {case}");
}

/// The accepted events of a kind, by time and then arrival, with the members that the vector lists.
fn payloads(added: &[&Event], expected: &Value, is_kind: fn(&Body) -> bool) -> Value {
    let mut events: Vec<&&Event> = added.iter().filter(|event| is_kind(&event.body)).collect();
    events.sort_by_key(|event| event.emitted_at);
    let shown = |(index, event): (usize, &&Event)| {
        let mut payload = event.to_json()["payload"].take();
        payload.as_object_mut().unwrap().retain(|name, _| expected[index].get(name).is_some());
        payload
    };
    events.into_iter().enumerate().map(|(index, event)| shown((index, event))).collect()
}
