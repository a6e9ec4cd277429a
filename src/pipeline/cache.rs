//! What is known of the sessions that were committed last, so that a steady stream reads next to nothing.
//!
//! The cache may be wrong, and then costs a conflict: a commit changes a session's row only in the version that the
//! fold began with. So a session is taken out when a batch begins with it, and comes back once the batch is committed.

use std::{
    hash::BuildHasher,
    sync::{Mutex, MutexGuard, PoisonError},
};

use foldhash::{HashMap, HashMapExt, HashSet, fast::RandomState};

use crate::{
    event::{Event, SessionId},
    fold::{Aggregators, LoadedSession, SessionAggregator, SessionChange, Standing, Wanted},
    store::written_version,
};

/// About how much memory the sessions take at most.
const MAX_BYTES: usize = 16 << 20;
/// About how much a session takes beside its state and its keys.
const SESSION_BYTES: usize = 500;
/// A larger state, as JSON, isn't kept: a working directory may have any length.
const MAX_STATE_BYTES: usize = 16 << 10;
/// A hash, and its share of the table that it lies in.
const KEY_BYTES: usize = 16;
/// A longer session's keys aren't kept, so that it doesn't drive all others out.
const MAX_KEYS: usize = 50_000;

/// Whether a session was in the cache, and its keys with it.
enum Cached {
    No,
    WithoutKeys,
    WithKeys(KnownKeys),
}

/// Sessions as they were committed. Least recently used ones go first: what was not used since `recent` was last empty
/// lies in `older`, which goes as a whole.
pub(super) struct SessionCache<S> {
    generations: Mutex<Generations<S>>,
    hasher: RandomState,
}

/// Boxed, since a table moves its entries when it grows.
struct Generations<S> {
    recent: HashMap<SessionId, Box<CachedSession<S>>>,
    recent_bytes: usize,
    older: HashMap<SessionId, Box<CachedSession<S>>>,
}

struct CachedSession<S> {
    loaded: LoadedSession<S>,
    /// The length of its state as JSON, which is about what it takes in memory.
    state_bytes: usize,
    keys: Option<KnownKeys>,
}

/// Hashes of the keys of all of a session's stored events, and perhaps of others. A key that isn't among them is certainly
/// new; one that is has to be looked for.
#[derive(Default)]
struct KnownKeys(HashSet<u64>);

/// What was in the cache of a batch's sessions.
#[must_use]
pub(super) struct Taken<S> {
    sessions: Vec<(SessionId, LoadedSession<S>)>,
    keys: TakenKeys,
}

/// The keys of a batch's sessions, to be put back with what was committed of them.
#[must_use]
pub(super) struct TakenKeys(HashMap<SessionId, SessionKeys>);

/// The keys of one of a batch's sessions.
struct SessionKeys {
    cached: Cached,
    /// Hashes of the keys of the batch's events. Made while the events are walked through: those of one session lie all
    /// over the memory.
    of_batch: Vec<u64>,
}

impl<S> Default for SessionCache<S> {
    fn default() -> Self {
        Self { generations: Mutex::default(), hasher: RandomState::default() }
    }
}

impl<S> Default for Generations<S> {
    fn default() -> Self {
        Self { recent: HashMap::new(), recent_bytes: 0, older: HashMap::new() }
    }
}

impl<S> CachedSession<S> {
    fn bytes(&self) -> usize {
        SESSION_BYTES + self.state_bytes + self.keys.as_ref().map_or(0, |KnownKeys(keys)| keys.len() * KEY_BYTES)
    }
}

impl<S> Generations<S> {
    fn take(&mut self, session_id: &SessionId) -> Option<Box<CachedSession<S>>> {
        let Some(session) = self.recent.remove(session_id) else { return self.older.remove(session_id) };
        self.recent_bytes -= session.bytes();
        Some(session)
    }

    fn put(&mut self, session_id: SessionId, session: Box<CachedSession<S>>) {
        if self.recent_bytes >= MAX_BYTES / 2 {
            self.older = std::mem::take(&mut self.recent);
            self.recent_bytes = 0;
        }
        self.older.remove(&session_id);
        self.recent_bytes += session.bytes();
        if let Some(before) = self.recent.insert(session_id, session) {
            self.recent_bytes -= before.bytes();
        }
    }
}

impl<S> SessionCache<S> {
    fn lock(&self) -> MutexGuard<'_, Generations<S>> {
        // No code panics while it holds the lock in a state that others couldn't go on from.
        self.generations.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes out the sessions of these events, and says what has to be read beside them.
    pub(super) fn take<'e>(&self, events: &[&'e Event]) -> (Taken<S>, Wanted<'e>) {
        let (mut sessions, mut keys_of, mut wanted) = (Vec::new(), HashMap::new(), Wanted::default());
        let mut generations = self.lock();
        for event in events {
            let session = match keys_of.get_mut(&event.session_id) {
                Some(session) => session,
                None => {
                    let session_id = event.session_id.clone();
                    let cached = match generations.take(&session_id).map(|session| *session) {
                        None => Cached::No,
                        Some(CachedSession { loaded, keys, .. }) => {
                            sessions.push((session_id.clone(), loaded));
                            keys.map_or(Cached::WithoutKeys, Cached::WithKeys)
                        }
                    };
                    keys_of.entry(session_id).or_insert(SessionKeys { cached, of_batch: Vec::new() })
                }
            };
            let hash = self.hasher.hash_one(event.key());
            session.of_batch.push(hash);
            let is_perhaps_stored = match &session.cached {
                Cached::No => {
                    wanted.of_unknown_sessions.push(*event);
                    continue;
                }
                Cached::WithoutKeys => true,
                Cached::WithKeys(KnownKeys(known)) => known.contains(&hash),
            };
            wanted.of_known_sessions.push(*event);
            if is_perhaps_stored {
                wanted.perhaps_stored.push(*event);
            }
        }
        (Taken { sessions, keys: TakenKeys(keys_of) }, wanted)
    }

    /// Forgets everything.
    pub(super) fn clear(&self) {
        *self.lock() = Generations::default();
    }

    /// Puts back what was committed. Nothing of an aggregator that depends on the order: it rejects events by the state
    /// alone, and what changes nothing isn't compared with the row's version.
    pub(super) fn put<A: SessionAggregator<State = S>>(
        &self,
        aggregators: &Aggregators<A>,
        changes: Vec<SessionChange<'_, S>>,
        TakenKeys(mut taken): TakenKeys,
    ) {
        if aggregators.session.depends_on_order() {
            return;
        }
        let sides: Vec<String> = aggregators.sides.ids().map(|id| id.to_string()).collect();
        let committed: Vec<_> = changes
            .into_iter()
            .filter_map(|change| {
                let state_bytes = change.folded.state_json().ok()?.len();
                if state_bytes > MAX_STATE_BYTES {
                    return None;
                }
                let keys = taken.remove(&change.session_id).and_then(|keys| keys.committed(change.read.is_none()));
                let loaded = LoadedSession {
                    version: written_version(&change),
                    status: change.folded.snapshot().status,
                    folded: Some(change.folded.into_state()),
                    sides: sides.clone(),
                };
                Some((change.session_id, Box::new(CachedSession { loaded, state_bytes, keys })))
            })
            .collect();
        let mut generations = self.lock();
        for (session_id, session) in committed {
            generations.put(session_id, session);
        }
    }
}

impl SessionKeys {
    /// With those of the batch, some of which may not have been stored. All are known of a session that is new.
    fn committed(self, is_new: bool) -> Option<KnownKeys> {
        let KnownKeys(mut keys) = match self.cached {
            Cached::WithKeys(known) => known,
            Cached::No if is_new => KnownKeys::default(),
            Cached::No | Cached::WithoutKeys => return None,
        };
        keys.extend(self.of_batch);
        (keys.len() <= MAX_KEYS).then_some(KnownKeys(keys))
    }
}

impl<S> Taken<S> {
    /// Adds what was taken to what was read.
    pub(super) fn complete(self, standing: &mut Standing<S>) -> TakenKeys {
        standing.sessions.extend(self.sessions);
        self.keys
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use crate::{
        event::{Body, HookSource, Started, Text, Tool, ToolName, samples},
        fold::{BatchFold, Convergent, ConvergentState, Status, Version},
    };

    use super::*;

    type Cache = SessionCache<ConvergentState>;

    fn tool(session: &str, id: u128) -> Event {
        let body = Body::Tool(Tool {
            tool_execution_id: Uuid::from_u128(id),
            tool_name: ToolName::parse("Bash").unwrap(),
            success: true,
            duration_ms: None,
            summary: None,
        });
        samples::event(session, body)
    }

    /// Goes the way of a batch that commits: what it wanted, and then what it changed is put back.
    fn commit<'e>(cache: &Cache, mut stored: Standing<ConvergentState>, events: &[&'e Event]) -> Wanted<'e> {
        let aggregators = Aggregators::new(Convergent::default());
        let (taken, wanted) = cache.take(events);
        let keys = taken.complete(&mut stored);
        let mut fold = BatchFold::new(&aggregators, stored);
        events.iter().for_each(|event| fold.push(event));
        cache.put(&aggregators, fold.finish(std::iter::empty()).changes, keys);
        wanted
    }

    fn wanted<'e>(cache: &Cache, events: &[&'e Event]) -> Wanted<'e> {
        cache.take(events).1
    }

    #[test]
    fn of_a_session_that_began_here_only_known_keys_are_looked_for() {
        let cache = Cache::default();
        let (first, second) = (tool("a", 1), tool("a", 2));
        assert_eq!(commit(&cache, Standing::default(), &[&first]).of_unknown_sessions, [&first]);
        let wanted = commit(&cache, Standing::default(), &[&first, &second]);
        assert!(wanted.of_unknown_sessions.is_empty());
        assert_eq!(wanted.of_known_sessions, [&first, &second]);
        assert_eq!(wanted.perhaps_stored, [&first]);
    }

    #[test]
    fn a_key_that_came_and_was_not_stored_is_looked_for() {
        let cache = Cache::default();
        let (first, second, third) = (tool("a", 1), tool("a", 2), tool("a", 3));
        let _ = commit(&cache, Standing::default(), &[&first]);
        let aggregators = Aggregators::new(Convergent::default());
        // The third comes in a batch that stores the second alone.
        let (taken, _) = cache.take(&[&second, &third]);
        let mut standing = Standing::default();
        let keys = taken.complete(&mut standing);
        let mut fold = BatchFold::new(&aggregators, standing);
        fold.push(&second);
        cache.put(&aggregators, fold.finish(std::iter::empty()).changes, keys);
        let fourth = tool("a", 4);
        assert_eq!(wanted(&cache, &[&second, &third, &fourth]).perhaps_stored, [&second, &third]);
    }

    #[test]
    fn everything_is_read_for_each_event_of_a_session_that_is_not_kept() {
        let cache = Cache::default();
        let (first, known, second) = (tool("a", 1), tool("b", 1), tool("a", 2));
        let _ = commit(&cache, Standing::default(), &[&known]);
        let wanted = wanted(&cache, &[&first, &known, &second]);
        assert_eq!((wanted.of_unknown_sessions, wanted.of_known_sessions), (vec![&first, &second], vec![&known]));
    }

    #[test]
    fn of_a_session_that_was_read_every_key_is_looked_for() {
        let cache = Cache::default();
        let event = tool("a", 1);
        let read = LoadedSession {
            version: Version::FIRST,
            status: Status::Active,
            folded: Some(crate::fold::FoldedState::default()),
            sides: Vec::new(),
        };
        let mut stored = Standing::default();
        stored.sessions.insert(event.session_id.clone(), read);
        let _ = commit(&cache, stored, &[&event]);
        let next = tool("a", 2);
        let wanted = wanted(&cache, &[&next]);
        assert_eq!((wanted.of_unknown_sessions.len(), wanted.perhaps_stored), (0, vec![&next]));
    }

    #[test]
    fn a_session_whose_batch_was_not_committed_is_forgotten() {
        let cache = Cache::default();
        let event = tool("a", 1);
        let _ = commit(&cache, Standing::default(), &[&event]);
        assert!(wanted(&cache, &[&event]).of_unknown_sessions.is_empty());
        assert_eq!(wanted(&cache, &[&event]).of_unknown_sessions, [&event]);
    }

    #[test]
    fn the_sessions_that_were_not_used_for_long_make_room_for_others() {
        let cache = Cache::default();
        let kept = tool("kept", 0);
        let many: Vec<Event> = (0..60_000).map(|number| tool(&format!("session {number}"), 1)).collect();
        for some in many.chunks(1_000) {
            let mut events: Vec<&Event> = some.iter().collect();
            events.push(&kept);
            let _ = commit(&cache, Standing::default(), &events);
        }
        let held = {
            let generations = cache.lock();
            generations.recent.values().chain(generations.older.values()).map(|session| session.bytes()).sum::<usize>()
        };
        assert!(held > MAX_BYTES / 2 && held < MAX_BYTES * 11 / 10, "{held} bytes");
        assert_eq!(wanted(&cache, &[&many[0]]).of_unknown_sessions, [&many[0]]);
        assert!(wanted(&cache, &[&kept]).of_unknown_sessions.is_empty());
    }

    #[test]
    fn a_session_with_a_very_large_state_is_not_kept() {
        let cache = Cache::default();
        let mut event = tool("a", 1);
        event.body = Body::Started(Started {
            working_directory: Text::parse("x".repeat(MAX_STATE_BYTES)).unwrap(),
            git_branch: None,
            hook_source: HookSource::Startup,
        });
        let _ = commit(&cache, Standing::default(), &[&event]);
        assert_eq!(wanted(&cache, &[&event]).of_unknown_sessions, [&event]);
    }

    #[test]
    fn the_keys_of_a_very_long_session_are_not_kept() {
        let cache = Cache::default();
        let many: Vec<Event> = (0..=MAX_KEYS).map(|id| tool("long", id as u128)).collect();
        let _ = commit(&cache, Standing::default(), &many.iter().collect::<Vec<_>>());
        let next = tool("long", u128::MAX);
        assert_eq!(wanted(&cache, &[&next]).perhaps_stored, [&next]);
    }
}
