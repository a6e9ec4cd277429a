//! The set of events that the topics hold, as small as it can be, and the stored events judged by it.

use std::collections::HashMap;

use uuid::Uuid;

use crate::{
    event::{Event, EventKey, EventKind, EventSetDigest, EventTime, SessionId},
    store::{ClaimedSession, StoredEvents},
};

use super::{
    report::{Difference, Report},
    topics::has_moved,
};

/// What decides between two events with one key: the smaller stands.
type Precedence = (EventTime, Uuid);

fn precedence(event: &Event) -> Precedence {
    (event.emitted_at, event.causation_id)
}

/// The event that stands for its key, by its digest.
#[derive(Debug)]
struct HeldEvent {
    precedence: Precedence,
    digest: EventSetDigest,
    /// Others of the same precedence. Between them the content would decide, which isn't kept: any may be stored.
    ties: Vec<EventSetDigest>,
}

impl HeldEvent {
    fn of(event: &Event) -> Self {
        Self { precedence: precedence(event), digest: EventSetDigest::of(event), ties: Vec::new() }
    }

    fn meet(&mut self, event: &Event) {
        match precedence(event).cmp(&self.precedence) {
            std::cmp::Ordering::Less => *self = Self::of(event),
            std::cmp::Ordering::Equal => {
                let digest = EventSetDigest::of(event);
                if !self.is_stored_as(digest) {
                    self.ties.push(digest);
                }
            }
            std::cmp::Ordering::Greater => {}
        }
    }

    fn is_stored_as(&self, digest: EventSetDigest) -> bool {
        self.digest == digest || self.ties.contains(&digest)
    }
}

/// The events of the topics, by session: about a hundred bytes each.
#[derive(Debug, Default)]
pub(super) struct HeldEvents {
    by_key: HashMap<SessionId, HashMap<EventKey, HeldEvent>>,
    /// Those that may be stored, and need not be.
    optional: HashMap<SessionId, HashMap<(EventKey, EventSetDigest), Settings>>,
}

/// With which settings a record that was set aside is an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Settings {
    These,
    /// Those that it was redriven with.
    Others,
}

impl HeldEvents {
    pub(super) fn take(&mut self, event: &Event) {
        let events = self.by_key.entry(event.session_id.clone()).or_default();
        events.entry(event.key()).and_modify(|held| held.meet(event)).or_insert_with(|| HeldEvent::of(event));
    }

    pub(super) fn take_optional(&mut self, event: &Event, by: Settings) {
        let events = self.optional.entry(event.session_id.clone()).or_default();
        let known = events.entry((event.key(), EventSetDigest::of(event))).or_insert(by);
        if by == Settings::These {
            *known = by;
        }
    }

    /// None if it is no event that may be stored and need not be.
    fn optional(&self, event: &Event, digest: EventSetDigest) -> Option<Settings> {
        self.optional.get(&event.session_id)?.get(&(event.key(), digest)).copied()
    }
}

/// The topics' events and what the rows claim, of one moment.
pub(super) struct Judge {
    pub(super) held: HeldEvents,
    pub(super) claimed: HashMap<SessionId, ClaimedSession>,
    /// Whether the topics hold everything that they ever held.
    pub(super) is_whole: bool,
}

impl Judge {
    /// Sessions whose row doesn't claim the very set that the topics hold, or need not.
    pub(super) fn suspects(&self) -> Vec<SessionId> {
        let claims = |session_id: &SessionId, events: &HashMap<EventKey, HeldEvent>| {
            let digest = events.values().fold(EventSetDigest::default(), |set, held| set.with(held.digest));
            let claimed = self.claimed.get(session_id);
            claimed
                .is_some_and(|row| row.digest == Some(digest) && usize::try_from(row.event_count) == Ok(events.len()))
        };
        let held = self.held.by_key.iter().filter(|(session_id, events)| !claims(session_id, events));
        let only_stored = self.claimed.keys().filter(|session_id| !self.held.by_key.contains_key(*session_id));
        held.map(|(session_id, _)| session_id).chain(only_stored.filter(|_| self.is_whole)).cloned().collect()
    }

    /// Names the events of these sessions that are stored otherwise than the topics have them.
    pub(super) fn compare(&self, sessions: HashMap<SessionId, StoredEvents>, report: &mut Report) {
        let mut sessions: Vec<_> = sessions.into_iter().collect();
        sessions.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        for (session_id, StoredEvents { events, row }) in sessions {
            let has_moved = has_moved(self.claimed.get(&session_id), row.as_ref());
            let stored = events.into_iter().map(|event| (event.key(), event)).collect();
            report.redriven_by_others += self.redriven_by_others(&session_id, &stored);
            let found = self.differences(&session_id, &stored, has_moved);
            report.add(&session_id, found);
        }
    }

    /// How many are stored that only other settings take.
    fn redriven_by_others(&self, session_id: &SessionId, stored: &HashMap<EventKey, Event>) -> u64 {
        let held = self.held.by_key.get(session_id);
        let is_by_others = |(key, event): &(&EventKey, &Event)| {
            let digest = EventSetDigest::of(event);
            let is_held = held.and_then(|held| held.get(*key)).is_some_and(|held| held.is_stored_as(digest));
            !is_held && self.held.optional(event, digest) == Some(Settings::Others)
        };
        stored.iter().filter(is_by_others).count() as u64
    }

    fn differences(
        &self,
        session_id: &SessionId,
        stored: &HashMap<EventKey, Event>,
        has_moved: bool,
    ) -> Vec<Difference> {
        let nothing = HashMap::new();
        let held = self.held.by_key.get(session_id).unwrap_or(&nothing);
        // What stands beside or before the topics' events may be older than the logs, or newer than what was read.
        let may_have_more = !self.is_whole || has_moved;
        let difference = |at: Precedence, key: &EventKey, stored: String, expected: String| {
            (at, Difference::new(session_id, name(key, at.0), stored.into(), expected.into()))
        };
        let mut found = Vec::new();
        for (key, event) in held {
            match stored.get(key) {
                None => found.push(difference(event.precedence, key, "missing".into(), "in the topics".into())),
                Some(other) => {
                    let digest = EventSetDigest::of(other);
                    let is_older = precedence(other) < event.precedence;
                    let is_optional =
                        precedence(other) <= event.precedence && self.held.optional(other, digest).is_some();
                    let is_right = event.is_stored_as(digest) || (may_have_more && is_older) || is_optional;
                    if !is_right {
                        found.push(difference(event.precedence, key, digest.to_string(), event.digest.to_string()));
                    }
                }
            }
        }
        for (key, event) in stored.iter().filter(|(key, _)| !may_have_more && !held.contains_key(*key)) {
            if self.held.optional(event, EventSetDigest::of(event)).is_some() {
                continue;
            }
            found.push(difference(precedence(event), key, "stored".into(), "not in the topics".into()));
        }
        found.sort_unstable_by_key(|(at, _)| *at);
        found.into_iter().map(|(_, difference)| difference).collect()
    }
}

/// Kind, id and time.
fn name(key: &EventKey, emitted_at: EventTime) -> String {
    let (kind, id) = match key {
        EventKey::Started { causation_id, .. } => (EventKind::Started, causation_id),
        EventKey::Prompt(id) => (EventKind::Prompt, id),
        EventKey::Tool(id) => (EventKind::Tool, id),
        EventKey::Ended { causation_id, .. } => (EventKind::Ended, causation_id),
    };
    format!("{kind} {id} {emitted_at}")
}
