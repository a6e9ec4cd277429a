use std::collections::{BTreeMap, BTreeSet, HashSet};

use super::*;
use crate::event::{Body as EventBody, Decoded, Decoder, Event, RecordTimestamp, WireRecord};

fn decode(decoder: &Decoder, record: &GeneratedRecord) -> Decoded {
    let kind = record.headers.iter().rev().find(|(name, _)| name == KIND_HEADER);
    decoder.decode(WireRecord {
        value: record.value.as_deref(),
        kind_header: kind.map(|(_, value)| value.as_deref()),
        timestamp: RecordTimestamp::from_millis(record.timestamp_millis),
    })
}

fn shape(records: u64) -> Shape {
    Shape { records, ..Shape::default() }
}

fn events(shape: Shape) -> Vec<Event> {
    let decoder = Decoder::default();
    Generator::new(shape)
        .filter_map(|record| if let Decoded::Event(event) = decode(&decoder, &record) { Some(event) } else { None })
        .collect()
}

fn share(part: usize, whole: usize) -> f64 {
    part as f64 / whole as f64
}

#[test]
fn the_same_seed_gives_the_same_bytes_and_another_seed_others() {
    let with_seed = |seed| Generator::new(Shape { seed, ..shape(3_000) });
    assert!(with_seed(7).eq(with_seed(7)));
    assert!(!with_seed(7).eq(with_seed(8)));
}

#[test]
fn exactly_as_many_records_come_out_as_asked_for() {
    for records in [0, 1, 2, 3, 50, 4_321] {
        for (duplicate_share, late_share, bad_share) in
            [(0.0, 0.0, 0.0), (0.05, 0.1, 0.005), (0.5, 1.0, 0.3), (0.0, 0.0, 1.0)]
        {
            let generator = Generator::new(Shape { duplicate_share, late_share, bad_share, ..shape(records) });
            assert_eq!(generator.count() as u64, records);
        }
    }
}

#[test]
fn the_decoder_finds_in_each_record_what_was_intended_and_every_reason_occurs() {
    let decoder = Decoder::default();
    let mut reasons: BTreeMap<Reason, usize> = BTreeMap::new();
    for record in Generator::new(Shape { bad_share: 0.05, ..shape(20_000) }) {
        let found = match decode(&decoder, &record) {
            Decoded::Refused(refusal) => Some(refusal.reason),
            Decoded::Event(event) => {
                assert_eq!(event.session_id.as_str().as_bytes(), record.key);
                assert_eq!(event.kind(), record.kind);
                None
            }
            Decoded::Ignored => panic!("no kind is ignored"),
        };
        let value = record.value.as_deref().unwrap_or_default();
        let text = String::from_utf8_lossy(&value[..value.len().min(900)]);
        assert_eq!(found, record.intended, "{:?} {text}", record.headers);
        if let Some(reason) = found {
            *reasons.entry(reason).or_default() += 1;
        }
    }
    assert_eq!(reasons.len(), Reason::ALL.len() - 2, "all but unstorable and rejected: {reasons:?}");
    assert_eq!(reasons[&Reason::TooLarge], 5, "not hundreds of megabytes");
}

#[test]
fn a_small_limit_makes_a_twentieth_of_the_bad_records_too_large_and_no_good_one() {
    let decoder = Decoder { max_value_bytes: 4_096, ..Decoder::default() };
    let bad: Vec<_> = Generator::new(Shape { max_value_bytes: 4_096, bad_share: 0.1, ..shape(12_000) })
        .inspect(|record| {
            assert_eq!(record.intended.is_some(), matches!(decode(&decoder, record), Decoded::Refused(_)))
        })
        .filter_map(|record| record.intended)
        .collect();
    let large = bad.iter().filter(|reason| **reason == Reason::TooLarge).count();
    assert!((0.04..0.06).contains(&share(large, bad.len())), "{large} of {}", bad.len());
}

#[test]
fn a_value_has_about_590_bytes_and_a_good_one_less_than_4_kib() {
    let sizes: Vec<usize> = Generator::new(shape(20_000))
        .filter(|record| record.intended.is_none())
        .map(|record| record.value.map_or(0, |value| value.len()))
        .collect();
    let mean = share(sizes.iter().sum(), sizes.len());
    assert!((540.0..640.0).contains(&mean), "{mean}");
    assert!(sizes.iter().max() < Some(&4_096), "{:?}", sizes.iter().max());
}

#[test]
fn shares_come_out_as_asked_for() {
    let records: Vec<_> = Generator::new(shape(40_000)).collect();
    let bad = records.iter().filter(|record| record.intended.is_some()).count();
    assert!((0.003..0.007).contains(&share(bad, records.len())), "{bad} bad");
    let mut seen = HashSet::new();
    let (mut again, mut late, mut bare, mut latest) = (0, 0, 0, 0);
    for record in records.iter().filter(|record| record.intended.is_none()) {
        bare += usize::from(!record.value.as_ref().unwrap().starts_with(b"{\"event_type\""));
        if !seen.insert(&record.value) {
            again += 1;
        } else if record.timestamp_millis < latest - 1_000 {
            late += 1;
        }
        latest = latest.max(record.timestamp_millis);
    }
    assert!((0.045..0.055).contains(&share(again, records.len())), "{again} duplicates");
    assert!((0.08..0.11).contains(&share(late, records.len())), "{late} late");
    assert!((0.09..0.11).contains(&share(bare, records.len())), "{bare} bare");
}

#[test]
fn some_events_come_in_two_versions() {
    let mut versions: BTreeMap<_, BTreeSet<Event>> = BTreeMap::new();
    for event in events(Shape { conflict_share: 0.01, ..shape(20_000) }) {
        versions.entry((event.session_id.clone(), event.key())).or_default().insert(event);
    }
    let several = versions.values().filter(|versions| versions.len() > 1).count();
    assert!((100..300).contains(&several), "{several}");
}

#[test]
fn sessions_look_like_real_ones() {
    let events: BTreeSet<Event> = events(shape(120_000)).into_iter().collect();
    let mut sessions: BTreeMap<_, Vec<&Event>> = BTreeMap::new();
    for event in &events {
        sessions.entry(&event.session_id).or_default().push(event);
    }
    let with = |wanted: EventKind| {
        let has = |events: &&Vec<&Event>| events.iter().any(|event| event.kind() == wanted);
        share(sessions.values().filter(has).count(), sessions.len())
    };
    let a_session = share(events.len(), sessions.len());
    assert!((21.0..29.0).contains(&a_session), "{a_session} events a session");
    assert!((0.92..0.98).contains(&with(EventKind::Started)), "{}", with(EventKind::Started));
    assert!((0.83..0.93).contains(&with(EventKind::Ended)), "{}", with(EventKind::Ended));
    let longest = sessions.values().map(Vec::len).max();
    assert!(longest > Some(150), "{longest:?}");
    let tools: Vec<bool> = events
        .iter()
        .filter_map(|event| if let EventBody::Tool(tool) = &event.body { Some(tool.success) } else { None })
        .collect();
    let failed = share(tools.iter().filter(|success| !**success).count(), tools.len());
    assert!((0.06..0.08).contains(&failed), "{failed}");
}

#[test]
fn some_texts_hold_secrets_that_decoding_takes_out() {
    let holds = |text: &str| text.contains("***REDACTED***");
    let events = events(shape(20_000));
    let prompts: Vec<bool> = events
        .iter()
        .filter_map(|event| match &event.body {
            EventBody::Prompt(prompt) => Some(holds(prompt.prompt_preview.as_str())),
            _ => None,
        })
        .collect();
    let found = prompts.iter().filter(|held| **held).count();
    assert!(found > 3 && share(found, prompts.len()) < 0.01, "{found} of {}", prompts.len());
}

#[test]
fn every_made_up_secret_is_one_that_redaction_knows() {
    let mut random = Random::new(3);
    for _ in 0..500 {
        let text = secret::secret(&mut random);
        assert!(text.chars().count() <= 140, "{text}");
        assert!(crate::event::redact(&text).contains("***REDACTED***"), "{text}");
    }
}
