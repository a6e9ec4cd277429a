//! The fold of a batch: what its events change, given what stands in the store.
//!
//! The store is read before ([`Standing`]) and written after ([`Folded`]). Between the two, a session's version says
//! whether what was read still holds.

use foldhash::{HashMap, HashMapExt};

use crate::event::{Event, SessionId};

use super::{
    aggregator::{Rejection, SessionAggregator},
    aggregators::Aggregators,
    session::{Fate, Session, SessionChange},
    snapshot::Status,
    standing::{Standing, Version},
};

/// What became of the events of a batch. A superseding event counts as a duplicate: its key was counted before.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    pub applied: u64,
    pub duplicates: u64,
    /// Of sessions that were deleted.
    pub ignored: u64,
    /// Which events, counted from 0 in the order in which they were pushed, and why.
    pub rejected: Vec<(usize, Rejection)>,
}

/// The result of a fold.
#[must_use]
#[derive(Debug)]
pub struct Folded<'e, S> {
    /// The sessions that change, sorted by id.
    pub changes: Vec<SessionChange<'e, S>>,
    pub outcome: Outcome,
}

/// A fold in progress: push the events of a batch in their order, then finish.
pub struct BatchFold<'e, 'a, A: SessionAggregator> {
    aggregators: &'a Aggregators<A>,
    standing: Standing<A::State>,
    sessions: HashMap<SessionId, Session<'e, A::State>>,
    pushed: usize,
    outcome: Outcome,
}

impl<'e, 'a, A: SessionAggregator> BatchFold<'e, 'a, A> {
    pub fn new(aggregators: &'a Aggregators<A>, standing: Standing<A::State>) -> Self {
        Self { aggregators, standing, sessions: HashMap::new(), pushed: 0, outcome: Outcome::default() }
    }

    pub fn push(&mut self, event: &'e Event) {
        self.push_telling(event);
    }

    /// The same, and tells what became of the event.
    pub fn push_telling(&mut self, event: &'e Event) -> Fate {
        self.pushed += 1;
        let fate = self.take(event);
        match fate {
            Fate::Applied => self.outcome.applied += 1,
            Fate::Duplicate => self.outcome.duplicates += 1,
            Fate::Ignored => self.outcome.ignored += 1,
            Fate::Rejected(rejection) => self.outcome.rejected.push((self.pushed - 1, rejection)),
        }
        fate
    }

    fn take(&mut self, event: &'e Event) -> Fate {
        let session = match self.sessions.get_mut(&event.session_id) {
            Some(session) => session,
            None if self.standing.deleted.contains(&event.session_id) => return Fate::Ignored,
            None => {
                let session = Session::open(self.aggregators, &mut self.standing, &event.session_id);
                self.sessions.entry(event.session_id.clone()).or_insert(session)
            }
        };
        session.take(&self.aggregators.session, event)
    }

    /// The sessions of which something can't be carried on: their stored events must be handed to [`Self::finish`].
    pub fn sessions_to_refold(&self) -> Vec<SessionId> {
        let wanted = self.sessions.iter().filter(|(_, session)| session.needs_stored_events());
        wanted.map(|(session_id, _)| session_id.clone()).collect()
    }

    /// Ends the fold. `stored` are all stored events of [`Self::sessions_to_refold`], in any order; they are taken
    /// one at a time, so that a long session needs no room.
    pub fn finish(self, stored: impl Iterator<Item = Event>) -> Folded<'e, A::State> {
        let (folded, mut refold) = self.begin_refold();
        for event in stored {
            refold.take_stored(&event);
        }
        folded.with(refold.finish())
    }

    /// The same as [`Self::finish`], for a caller that reads the stored events bit by bit: what is done without them,
    /// and what waits for them.
    pub fn begin_refold(mut self) -> (Folded<'e, A::State>, Refold<'e, 'a, A>) {
        for session in self.sessions.values_mut() {
            session.begin_refold(&self.aggregators.session);
        }
        let is_open = |_: &SessionId, session: &mut Session<'e, A::State>| session.needs_stored_events();
        let open = self.sessions.extract_if(is_open).collect();
        let folded = Folded { changes: changes_of(self.aggregators, self.sessions), outcome: self.outcome };
        (folded, Refold { aggregators: self.aggregators, sessions: open })
    }
}

impl<'e, S> Folded<'e, S> {
    /// Adds the changes of sessions that were folded again.
    pub fn with(mut self, refolded: Vec<SessionChange<'e, S>>) -> Self {
        if !refolded.is_empty() {
            self.changes.extend(refolded);
            sort(&mut self.changes);
        }
        self
    }
}

fn changes_of<'e, A: SessionAggregator>(
    aggregators: &Aggregators<A>,
    sessions: HashMap<SessionId, Session<'e, A::State>>,
) -> Vec<SessionChange<'e, A::State>> {
    let change = |(session_id, session): (_, Session<'e, A::State>)| session.close(&aggregators.session, session_id);
    let mut changes: Vec<_> = sessions.into_iter().filter_map(change).collect();
    sort(&mut changes);
    changes
}

fn sort<S>(changes: &mut [SessionChange<'_, S>]) {
    changes.sort_unstable_by(|a, b| a.session_id.cmp(&b.session_id));
}

/// Sessions that are being folded again from what is stored.
#[must_use]
pub struct Refold<'e, 'a, A: SessionAggregator> {
    aggregators: &'a Aggregators<A>,
    sessions: HashMap<SessionId, Session<'e, A::State>>,
}

// Derived, it would ask for `A: Clone`.
impl<A: SessionAggregator> Clone for Refold<'_, '_, A> {
    fn clone(&self) -> Self {
        Self { aggregators: self.aggregators, sessions: self.sessions.clone() }
    }
}

impl<'a, A: SessionAggregator> Refold<'static, 'a, A> {
    /// A fold of nothing but stored events, of these sessions. Each comes with the version and status of its row; none
    /// where events are stored and no row.
    pub fn of_stored(
        aggregators: &'a Aggregators<A>,
        sessions: impl IntoIterator<Item = (SessionId, Option<(Version, Status)>)>,
    ) -> Self {
        let open = |(session_id, read)| (session_id, Session::anew(aggregators, read));
        Self { aggregators, sessions: sessions.into_iter().map(open).collect() }
    }
}

impl<'e, A: SessionAggregator> Refold<'e, '_, A> {
    pub fn sessions(&self) -> impl Iterator<Item = &SessionId> {
        self.sessions.keys()
    }

    /// Takes a stored event of a session to refold, unless an event of the batch stands in its place.
    pub fn take_stored(&mut self, event: &Event) {
        if let Some(session) = self.sessions.get_mut(&event.session_id) {
            session.take_stored(&self.aggregators.session, event);
        }
    }

    /// The sessions that change, sorted by id.
    pub fn finish(self) -> Vec<SessionChange<'e, A::State>> {
        changes_of(self.aggregators, self.sessions)
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use crate::{
        event::{Body, Count, Prompt, RedactedText, samples},
        fold::Convergent,
    };

    use super::*;

    fn prompt(session: &str, id: u128) -> Event {
        samples::event(
            session,
            Body::Prompt(Prompt {
                prompt_id: Uuid::from_u128(id),
                prompt_preview: RedactedText::of(""),
                prompt_length: Count::new(0).unwrap(),
                detected_intent: None,
            }),
        )
    }

    #[test]
    fn events_of_a_deleted_session_are_ignored_and_change_nothing() {
        let aggregators = Aggregators::new(Convergent::default());
        let deleted = std::iter::once(SessionId::parse("deleted").unwrap()).collect();
        let mut fold = BatchFold::new(&aggregators, Standing { deleted, ..Standing::default() });
        let events = [prompt("deleted", 1), prompt("kept", 1), prompt("deleted", 1), prompt("kept", 1)];
        events.iter().for_each(|event| fold.push(event));
        let folded = fold.finish(std::iter::empty());
        assert_eq!(folded.outcome, Outcome { applied: 1, duplicates: 1, ignored: 2, rejected: Vec::new() });
        assert_eq!(folded.changes.len(), 1);
        assert_eq!(folded.changes[0].session_id.as_str(), "kept");
    }
}
