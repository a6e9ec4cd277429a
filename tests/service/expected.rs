//! What the tables must hold: the fold of what was sent, by a model that is too simple to be wrong. It keeps the set
//! of each session's events and folds it in one go, without batches, versions or a database.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::Duration,
};

use sessionfold::{
    event::{Decoded, Decoder, Event, EventKey, RecordTimestamp, SessionId, WireRecord},
    fold::{Aggregator, Convergent, SessionAggregator, Snapshot, Verdict},
    generate::GeneratedRecord,
};

use crate::deployment::MAX_VALUE_BYTES;

/// The model of everything that was sent.
#[derive(Default)]
pub struct Expected {
    sessions: HashMap<SessionId, BTreeMap<EventKey, Event>>,
    /// Reason and value of each record that is no good event, sorted.
    pub dead_letters: Vec<(String, Option<Vec<u8>>)>,
    pub records: u64,
    /// Good records.
    pub events: u64,
}

impl Expected {
    pub fn of<'a>(records: impl IntoIterator<Item = &'a GeneratedRecord>) -> Self {
        Self::within(MAX_VALUE_BYTES, records)
    }

    /// The same for another limit of a value's size.
    pub fn within<'a>(max_value_bytes: usize, records: impl IntoIterator<Item = &'a GeneratedRecord>) -> Self {
        let decoder = Decoder { max_value_bytes, ..Decoder::default() };
        let mut expected = Self::default();
        for record in records {
            expected.take(&decoder, record);
        }
        expected.dead_letters.sort();
        expected
    }

    fn take(&mut self, decoder: &Decoder, record: &GeneratedRecord) {
        let kind = record.headers.iter().rev().find(|(name, _)| name == "event_type");
        let wire = WireRecord {
            value: record.value.as_deref(),
            kind_header: kind.map(|(_, value)| value.as_deref()),
            timestamp: RecordTimestamp::from_millis(record.timestamp_millis),
        };
        self.records += 1;
        match decoder.decode(wire) {
            Decoded::Event(event) => {
                self.events += 1;
                let events = self.sessions.entry(event.session_id.clone()).or_default();
                let standing = events.entry(event.key()).or_insert_with(|| event.clone());
                if event.precedes(standing) {
                    *standing = event;
                }
            }
            Decoded::Refused(refusal) => {
                self.dead_letters.push((refusal.reason.as_str().to_owned(), record.value.clone()));
            }
            Decoded::Ignored => panic!("nothing is ignored in these tests"),
        }
    }

    pub fn distinct_events(&self) -> u64 {
        self.sessions.values().map(|events| events.len() as u64).sum()
    }

    /// Every event, as it must be stored.
    pub fn stored_events(&self) -> BTreeSet<Event> {
        self.sessions.values().flat_map(|events| events.values().cloned()).collect()
    }

    pub fn snapshots(&self) -> BTreeMap<String, Snapshot> {
        self.sessions.iter().map(|(id, events)| (id.as_str().to_owned(), snapshot(events.values()))).collect()
    }
}

fn snapshot<'a>(events: impl Iterator<Item = &'a Event>) -> Snapshot {
    let aggregator = Convergent { inactivity_timeout: Duration::from_secs(3_600), ..Convergent::default() };
    let mut state = Default::default();
    for event in events {
        assert_eq!(aggregator.apply(&mut state, event), Verdict::Applied);
    }
    aggregator.snapshot(&state, None)
}
