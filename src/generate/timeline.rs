//! Many sessions at once, their events by time.

use std::collections::{BTreeMap, VecDeque};

use chrono::{DateTime, Utc};

use super::{random::Random, session::session, wire::Payload};

pub(super) struct Timeline {
    sessions_at_once: usize,
    /// What is left of each session, under the time of its next event. The number keeps apart what has one time.
    live: BTreeMap<(DateTime<Utc>, u64), VecDeque<Payload>>,
    /// Events in `live`.
    planned: u64,
    sessions: u64,
    now: DateTime<Utc>,
}

impl Timeline {
    pub(super) fn new(start: DateTime<Utc>, sessions_at_once: usize) -> Self {
        Self { sessions_at_once, live: BTreeMap::new(), planned: 0, sessions: 0, now: start }
    }

    /// The time of the latest event.
    pub(super) fn now(&self) -> DateTime<Utc> {
        self.now
    }

    /// The next event. Sessions stop being born when those that live have about `wanted` events left, so that the last
    /// ones aren't all cut off in the middle.
    pub(super) fn next(&mut self, random: &mut Random, wanted: u64) -> Payload {
        loop {
            while self.live.len() < self.sessions_at_once && self.planned < wanted {
                self.begin_session(random);
            }
            let Some(((at, number), mut events)) = self.live.pop_first() else {
                self.begin_session(random);
                continue;
            };
            let Some(event) = events.pop_front() else { continue };
            if let Some(next) = events.front() {
                self.live.insert((next.at, number), events);
            }
            self.planned -= 1;
            self.now = at;
            return event;
        }
    }

    fn begin_session(&mut self, random: &mut Random) {
        // The first ones begin all over half an hour; later ones follow one that is over.
        let first = self.sessions < self.sessions_at_once as u64;
        let begin = self.now + random.seconds(if first { 0..=1_800 } else { 0..=60 });
        let events = session(random, begin);
        self.planned += events.len() as u64;
        self.sessions += 1;
        if let Some(next) = events.front() {
            self.live.insert((next.at, self.sessions), events);
        }
    }
}
