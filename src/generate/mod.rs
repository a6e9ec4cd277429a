//! Made-up session events that look like real ones: for the demo, for load tests, for trying out a deployment.
//!
//! Pure: no clock, no Kafka. One [`Shape`] always gives the same records, byte for byte. They stream: memory is bounded
//! by [`Shape::sessions_at_once`] and by the window in which records are held back, not by [`Shape::records`].

mod bad;
mod random;
mod secret;
mod session;
#[cfg(test)]
mod tests;
mod text;
mod timeline;
mod wire;

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};

use crate::event::{EventKind, Reason};
use bad::BadRecords;
use random::Random;
use timeline::Timeline;
use wire::{Body, Payload, time_text};

/// The header that names the kind of a bare payload.
const KIND_HEADER: &str = "event_type";

/// What to generate. Shares are of all records, from 0 to 1; what they leave over is good, in order and new.
#[derive(Clone, Debug, PartialEq)]
pub struct Shape {
    /// All records together, duplicates and bad ones included: exactly that many.
    pub records: u64,
    pub seed: u64,
    /// When the first session begins. The records lie in the time after it, the 120,000 of the demo in about 12 hours.
    /// That time grows with `records` and shrinks with `sessions_at_once`.
    pub start: DateTime<Utc>,
    /// Records that are sent again later. At most as many as there are good ones.
    pub duplicate_share: f64,
    /// Records that are held back while later ones pass.
    pub late_share: f64,
    /// Records that are no good event.
    pub bad_share: f64,
    /// Events that come in a second version: the same prompt or tool execution with other content, emitted later or
    /// with another cause.
    pub conflict_share: f64,
    /// Good records whose kind stands in a header instead of an envelope.
    pub bare_share: f64,
    /// At least one. Fewer of them stretch the records over a longer time.
    pub sessions_at_once: usize,
    /// What counts as too large. Good values have less than 4 KiB, so that a limit below that makes some of them bad.
    pub max_value_bytes: usize,
}

impl Default for Shape {
    /// The demo.
    fn default() -> Self {
        Self {
            records: 120_000,
            seed: 1,
            start: DateTime::from_timestamp(1_772_355_600, 0).unwrap_or_default(), // 2026-03-01T09:00:00Z
            duplicate_share: 0.05,
            late_share: 0.10,
            bad_share: 0.005,
            conflict_share: 0.001,
            bare_share: 0.10,
            sessions_at_once: 200,
            max_value_bytes: 1 << 20,
        }
    }
}

/// A record to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GeneratedRecord {
    /// Decides the topic, also where the record is bad and names another kind or none.
    pub kind: EventKind,
    pub key: Vec<u8>,
    /// None for a null value, which is not an empty one.
    pub value: Option<Vec<u8>>,
    pub headers: Vec<(String, Option<Vec<u8>>)>,
    pub timestamp_millis: i64,
    /// Why the record is bad; none where it is a good event. A decoder with [`Shape::max_value_bytes`], the default
    /// tolerance and no kinds to ignore says the same.
    pub intended: Option<Reason>,
}

/// The records of a [`Shape`], in the order in which they are to be sent.
pub struct Generator {
    shape: Shape,
    odds: Odds,
    random: Random,
    timeline: Timeline,
    bad: BadRecords,
    /// Records to be sent once that many were sent. The second number keeps their order.
    held_back: BTreeMap<(u64, u64), GeneratedRecord>,
    held_back_ever: u64,
    sent: u64,
}

/// How likely something is where it is decided, so that the shares come out as shares of all records.
struct Odds {
    /// For a record that isn't taken from those held back.
    bad: f64,
    /// The rest for a new, good record.
    late: f64,
    duplicate: f64,
    conflict: f64,
    /// New and good, of all records.
    new: f64,
}

impl Odds {
    fn of(shape: &Shape) -> Self {
        let new = 1.0 - shape.duplicate_share - shape.bad_share - shape.conflict_share;
        let of_new = |share: f64| (share / new).clamp(0.0, 1.0);
        Self {
            bad: shape.bad_share / (shape.bad_share + new),
            late: of_new(shape.late_share),
            duplicate: of_new(shape.duplicate_share),
            conflict: of_new(shape.conflict_share),
            new,
        }
    }
}

impl Generator {
    pub fn new(shape: Shape) -> Self {
        Self {
            odds: Odds::of(&shape),
            random: Random::new(shape.seed),
            timeline: Timeline::new(shape.start, shape.sessions_at_once),
            bad: BadRecords::new(shape.max_value_bytes),
            held_back: BTreeMap::new(),
            held_back_ever: 0,
            sent: 0,
            shape,
        }
    }

    /// The next session event, with its copies planned; none where it is held back itself. There is room for `room`
    /// more records, this one included.
    fn new_record(&mut self, room: u64) -> Option<GeneratedRecord> {
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a guess"
        )]
        let wanted = (room as f64 * self.odds.new) as u64;
        let payload = self.timeline.next(&mut self.random, wanted);
        let record = self.record(&payload);
        let late = self.random.chance(self.odds.late);
        let due = if late { self.later_than(self.sent) } else { self.sent };
        if room > 1 && self.random.chance(self.odds.duplicate) {
            let again = self.again(&record);
            let due = self.later_than(due);
            self.hold_back(due, again);
        } else if room > 1
            && self.random.chance(self.odds.conflict)
            && let Some(other) = self.other_version(payload)
        {
            let due = self.later_than(self.sent);
            let other = self.record(&other);
            self.hold_back(due, other);
        }
        if late {
            self.hold_back(due, record);
            return None;
        }
        Some(record)
    }

    fn record(&mut self, payload: &Payload) -> GeneratedRecord {
        let bare = self.random.chance(self.shape.bare_share);
        let kind_header = (KIND_HEADER.to_owned(), Some(payload.kind().as_str().into()));
        let mut headers = Vec::new();
        if self.random.chance(0.2) {
            headers.push(("trace".to_owned(), Some(self.random.uuid().simple().to_string().into_bytes())));
        }
        if bare && self.random.chance(0.05) {
            headers.push((KIND_HEADER.to_owned(), Some(b"hook.event".to_vec()))); // the last one counts
        }
        if bare || self.random.chance(0.1) {
            headers.push(kind_header);
        }
        let latency = TimeDelta::milliseconds(i64::try_from(self.random.between(3..=250)).unwrap_or(0));
        let terse = self.random.chance(0.03);
        GeneratedRecord {
            kind: payload.kind(),
            key: payload.session_id.clone().into_bytes(),
            value: Some(if bare { payload.bare() } else { payload.envelope(terse) }),
            headers,
            timestamp_millis: (payload.at + latency).timestamp_millis(),
            intended: None,
        }
    }

    /// What a producer sends that didn't hear of the first delivery.
    fn again(&mut self, record: &GeneratedRecord) -> GeneratedRecord {
        let mut again = record.clone();
        if self.random.chance(0.2) {
            again.headers.push(("retry".to_owned(), self.random.chance(0.8).then(|| b"1".to_vec())));
        }
        again
    }

    /// The same prompt or tool execution with other content. A start or an end has none: its time and cause are its
    /// key.
    fn other_version(&mut self, mut payload: Payload) -> Option<Payload> {
        match &mut payload.body {
            Body::Prompt { prompt_length, .. } => *prompt_length += 1,
            Body::Tool { success, .. } => *success = !*success,
            Body::Started { .. } | Body::Ended { .. } => return None,
        }
        if self.random.chance(0.5) {
            payload.at += self.random.seconds(1..=30);
            payload.emitted_at = time_text(&mut self.random, payload.at);
        } else {
            payload.causation_id = self.random.uuid();
        }
        Some(payload)
    }

    fn later_than(&mut self, sent: u64) -> u64 {
        let window = (self.shape.records / 20).clamp(10, 2_000);
        sent + self.random.between(1..=window)
    }

    fn hold_back(&mut self, due: u64, record: GeneratedRecord) {
        self.held_back_ever += 1;
        self.held_back.insert((due, self.held_back_ever), record);
    }

    fn next_record(&mut self) -> Option<GeneratedRecord> {
        loop {
            let left = self.shape.records - self.sent;
            // A record held back has its place among the rest.
            let room = left - self.held_back.len() as u64;
            let due = self.held_back.first_key_value().is_some_and(|((due, _), _)| *due <= self.sent);
            if due || room == 0 {
                return self.held_back.pop_first().map(|(_, record)| record);
            }
            if self.random.chance(self.odds.bad) {
                return Some(self.bad.next(&mut self.random, self.timeline.now()));
            }
            if let Some(record) = self.new_record(room) {
                return Some(record);
            }
        }
    }
}

impl Iterator for Generator {
    type Item = GeneratedRecord;

    fn next(&mut self) -> Option<GeneratedRecord> {
        let record = self.next_record()?;
        self.sent += 1;
        Some(record)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = usize::try_from(self.shape.records - self.sent).unwrap_or(usize::MAX);
        (left, Some(left))
    }
}
