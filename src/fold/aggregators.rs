//! The aggregators that one stream feeds: the session's own, and any number beside it.

use std::{borrow::Cow, collections::BTreeMap, sync::Arc};

use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use crate::event::Event;

use super::aggregator::{Aggregator, AggregatorId, Verdict};

/// The aggregators of a service.
#[derive(Clone, Debug, Default)]
pub struct Aggregators<A> {
    /// Decides what is in a session's set of events, and what the session's row says.
    pub session: A,
    pub sides: SideAggregators,
}

impl<A> Aggregators<A> {
    /// The session's aggregator alone.
    pub fn new(session: A) -> Self {
        Self { session, sides: SideAggregators::default() }
    }
}

/// The aggregators beside the session's. Each folds the events that the session's lets in, and keeps its states as JSON
/// in the table `aggregates`, in the same transaction. Cheap to clone.
#[derive(Clone, Default)]
pub struct SideAggregators(Vec<Arc<dyn AnyAggregator>>);

impl SideAggregators {
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an aggregator.
    ///
    /// # Panics
    /// If one of this name is there, whose states it would mix with its own; or if its name is `session`, which stands
    /// for the session's aggregator.
    #[must_use]
    pub fn with(mut self, aggregator: impl Aggregator) -> Self {
        let name = aggregator.id().name();
        assert!(name != "session", "an aggregator beside the session's can't be named session");
        assert!(self.ids().all(|id| id.name() != name), "two aggregators are named {name}");
        self.0.push(Arc::new(Arc::new(aggregator)));
        self
    }

    pub fn ids(&self) -> impl Iterator<Item = AggregatorId> {
        self.0.iter().map(|aggregator| aggregator.id())
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The names and keys of the states that the event belongs to.
    pub fn keys_of<'e>(&self, event: &'e Event) -> impl Iterator<Item = (&'static str, Cow<'e, str>)> {
        self.0.iter().filter_map(|aggregator| Some((aggregator.id().name(), stored_key(aggregator.key(event)?))))
    }

    /// A session's states, none loaded yet.
    pub(super) fn open(&self) -> Vec<SideStates> {
        self.0.iter().map(|aggregator| SideStates { id: aggregator.id(), states: aggregator.open() }).collect()
    }
}

impl std::fmt::Debug for SideAggregators {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.ids().map(|id| id.to_string())).finish()
    }
}

/// One side aggregator's states of one session.
#[derive(Clone)]
pub(super) struct SideStates {
    pub(super) id: AggregatorId,
    states: Box<dyn AnyStates>,
}

impl SideStates {
    /// Takes over a stored state. False if it can't be read, by which it is as good as another version's.
    pub(super) fn load(&mut self, key: String, json: &RawValue) -> bool {
        self.states.load(key, json)
    }

    pub(super) fn take(&mut self, event: &Event) {
        self.states.take(event);
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        self.states.clear();
    }

    /// The states that took an event since they were loaded or cleared, by key.
    pub(super) fn changed(&self) -> Vec<(String, serde_json::Result<Box<RawValue>>)> {
        self.states.changed()
    }
}

/// The bytes of a key that are kept as they are. An index of Postgres has no room for more than about 2,700.
const MAX_KEY_BYTES: usize = 1_000;

/// A key as it is stored. A longer one is cut, and a digest of the whole stands behind; U+0000, which Postgres can't
/// hold, becomes U+FFFD, as in every text.
fn stored_key(key: Cow<'_, str>) -> Cow<'_, str> {
    let key = if key.contains('\0') { Cow::Owned(key.replace('\0', "\u{FFFD}")) } else { key };
    if key.len() <= MAX_KEY_BYTES {
        return key;
    }
    let digest: String = Sha256::digest(key.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
    let beginning = &key[..key.floor_char_boundary(MAX_KEY_BYTES)];
    Cow::Owned(format!("{beginning}…{digest}"))
}

/// An aggregator whose state's type isn't known here.
trait AnyAggregator: Send + Sync {
    fn id(&self) -> AggregatorId;
    fn key<'e>(&self, event: &'e Event) -> Option<Cow<'e, str>>;
    fn open(&self) -> Box<dyn AnyStates>;
}

impl<A: Aggregator> AnyAggregator for Arc<A> {
    fn id(&self) -> AggregatorId {
        (**self).id()
    }

    fn key<'e>(&self, event: &'e Event) -> Option<Cow<'e, str>> {
        (**self).key(event)
    }

    fn open(&self) -> Box<dyn AnyStates> {
        Box::new(States { aggregator: Self::clone(self), by_key: BTreeMap::new() })
    }
}

trait AnyStates: Send {
    fn load(&mut self, key: String, json: &RawValue) -> bool;
    fn take(&mut self, event: &Event);
    fn clear(&mut self);
    fn changed(&self) -> Vec<(String, serde_json::Result<Box<RawValue>>)>;
    fn duplicate(&self) -> Box<dyn AnyStates>;
}

impl Clone for Box<dyn AnyStates> {
    fn clone(&self) -> Self {
        self.duplicate()
    }
}

struct States<A: Aggregator> {
    aggregator: Arc<A>,
    by_key: BTreeMap<String, Slot<A::State>>,
}

#[derive(Clone, Default)]
struct Slot<S> {
    state: S,
    changed: bool,
}

impl<A: Aggregator> AnyStates for States<A> {
    fn load(&mut self, key: String, json: &RawValue) -> bool {
        match serde_json::from_str(json.get()) {
            Ok(state) => {
                self.by_key.insert(key, Slot { state, changed: false });
                true
            }
            Err(_) => false,
        }
    }

    fn take(&mut self, event: &Event) {
        let Some(key) = self.aggregator.key(event).map(stored_key) else { return };
        if !self.by_key.contains_key(&*key) {
            self.by_key.insert(key.clone().into_owned(), Slot { state: A::State::default(), changed: false });
        }
        let Some(slot) = self.by_key.get_mut(&*key) else { return };
        match self.aggregator.apply(&mut slot.state, event) {
            Verdict::Applied => slot.changed = true,
            // What is in the session's set stays there; this aggregator just doesn't count it.
            Verdict::Duplicate | Verdict::Rejected(_) => {}
        }
    }

    fn clear(&mut self) {
        self.by_key.clear();
    }

    fn changed(&self) -> Vec<(String, serde_json::Result<Box<RawValue>>)> {
        let changed = self.by_key.iter().filter(|(_, slot)| slot.changed);
        changed.map(|(key, slot)| (key.clone(), serde_json::value::to_raw_value(&slot.state))).collect()
    }

    fn duplicate(&self) -> Box<dyn AnyStates> {
        Box::new(Self { aggregator: Arc::clone(&self.aggregator), by_key: self.by_key.clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_postgres_has_room_for_is_stored_as_it_is() {
        assert_eq!(stored_key("/home/dev".into()), "/home/dev");
        assert_eq!(stored_key("ä".repeat(500).into()), "ä".repeat(500));
    }

    #[test]
    fn long_keys_are_cut_and_stay_apart() {
        let long = |end: &str| stored_key(format!("{}{end}", "ä".repeat(600)).into()).into_owned();
        assert_ne!(long("a"), long("b"));
        assert_eq!(long("a"), long("a"));
        assert!(long("a").len() < 1_100 && long("a").starts_with(&"ä".repeat(500)));
    }

    #[test]
    fn u_0000_in_a_key_is_replaced() {
        assert_eq!(stored_key("a\0b".into()), "a\u{FFFD}b");
    }
}
