//! The fold of batches, however they are cut and ordered, is the fold of the set.

use std::collections::{BTreeMap, HashMap};

use proptest::{prelude::*, sample::Index};
use sessionfold::{
    event::{
        Body, BoundedText, Count, DurationSeconds, EndReason, Ended, Event, EventKey, EventTime, HookSource, Prompt,
        RedactedText, SessionId, Started, Tool,
    },
    fold::{
        Aggregator, Aggregators, BatchFold, Convergent, ConvergentState, LoadedSession, SessionAggregator, Snapshot,
        Standing, Version,
    },
};
use uuid::Uuid;

/// Small ranges everywhere, so that keys collide, times tie and versions of one event compete.
fn event() -> impl Strategy<Value = Event> {
    let ids = (0..2_u8, 0..3_u128, 0..4_u128, 0..3_u128);
    (ids, -90..90_i64, prop::option::of(0..2_u8), body()).prop_map(
        |((session, correlation, causation, entity), seconds, task, body)| Event {
            session_id: SessionId::parse(&format!("s{session}")).unwrap(),
            entity_id: Uuid::from_u128(entity),
            correlation_id: Uuid::from_u128(correlation),
            causation_id: Uuid::from_u128(causation),
            emitted_at: at(seconds),
            task_id: task.map(|task| BoundedText::parse(format!("task {task}")).unwrap()),
            action_description: RedactedText::of(""),
            body,
        },
    )
}

fn at(seconds: i64) -> EventTime {
    EventTime::from_utc(chrono::DateTime::from_timestamp(1_772_355_600 + seconds, 0).unwrap()).unwrap()
}

fn body() -> impl Strategy<Value = Body> {
    let text = |number: u8| BoundedText::parse(format!("text {number}")).unwrap();
    prop_oneof![
        (0..3_u8, prop::option::of(0..3_u8)).prop_map(move |(directory, branch)| Body::Started(Started {
            working_directory: text(directory),
            git_branch: branch.map(text),
            hook_source: HookSource::Startup,
        })),
        prop::option::of(0..3_u8).prop_map(|duration| Body::Ended(Ended {
            reason: EndReason::Clear,
            duration_seconds: duration.map(|seconds| DurationSeconds::new(seconds.into()).unwrap()),
            tools_used_count: Count::new(0).unwrap(),
        })),
        (0..4_u128, 0..3_i64).prop_map(|(id, length)| Body::Prompt(Prompt {
            prompt_id: Uuid::from_u128(id),
            prompt_preview: RedactedText::of(""),
            prompt_length: Count::new(length).unwrap(),
            detected_intent: None,
        })),
        (0..4_u128, 0..3_u8, any::<bool>()).prop_map(|(id, name, success)| Body::Tool(Tool {
            tool_execution_id: Uuid::from_u128(id),
            tool_name: BoundedText::parse(format!("tool {name}")).unwrap(),
            success,
            duration_ms: None,
            summary: None,
        })),
    ]
}

/// A store in memory, with the rules of the real one: what is added must be new, what is replaced must be there.
#[derive(Default)]
struct Memory {
    sessions: HashMap<SessionId, LoadedSession<ConvergentState>>,
    events: HashMap<SessionId, HashMap<EventKey, Event>>,
}

impl Memory {
    fn standing(&self, batch: &[Event]) -> Standing<ConvergentState> {
        let mut standing = Standing { sessions: self.sessions.clone(), ..Standing::default() };
        for event in batch {
            if let Some(stored) = self.events.get(&event.session_id).and_then(|events| events.get(&event.key())) {
                let known = standing.events.entry(event.session_id.clone()).or_default();
                known.insert(event.key(), stored.clone());
            }
        }
        standing
    }

    /// Folds a batch and stores what came of it; returns how many events were applied.
    fn take(&mut self, aggregators: &Aggregators<Convergent>, batch: &[Event]) -> u64 {
        let mut fold = BatchFold::new(aggregators, self.standing(batch));
        batch.iter().for_each(|event| fold.push(event));
        let refolded = fold.sessions_to_refold();
        let stored: Vec<Event> =
            refolded.iter().filter_map(|id| self.events.get(id)).flat_map(|events| events.values().cloned()).collect();
        let folded = fold.finish(stored.into_iter());
        for change in folded.changes {
            let events = self.events.entry(change.session_id.clone()).or_default();
            for event in change.added {
                assert!(events.insert(event.key(), event.clone()).is_none(), "an added event was stored before");
            }
            for event in change.replaced {
                assert!(events.insert(event.key(), event.clone()).is_some(), "a replaced event was not stored");
            }
            let version = change.read.map_or(Version::FIRST, |(version, _)| version.next());
            let status = aggregators.session.snapshot(&change.folded.state, None).status;
            let session = LoadedSession { version, status, folded: Some(change.folded), sides: Vec::new() };
            self.sessions.insert(change.session_id, session);
        }
        folded.outcome.applied
    }

    fn snapshots(&self, aggregator: &Convergent, as_of: Option<EventTime>) -> BTreeMap<SessionId, Snapshot> {
        let snapshot = |session: &LoadedSession<ConvergentState>| {
            aggregator.snapshot(&session.folded.as_ref().unwrap().state, as_of)
        };
        self.sessions.iter().map(|(id, session)| (id.clone(), snapshot(session))).collect()
    }
}

/// The set of each session's events, and its fold, without batches or a store.
fn model(aggregator: &Convergent, events: &[Event], as_of: Option<EventTime>) -> (u64, BTreeMap<SessionId, Snapshot>) {
    let mut set: BTreeMap<SessionId, BTreeMap<EventKey, Event>> = BTreeMap::new();
    for event in events {
        let standing =
            set.entry(event.session_id.clone()).or_default().entry(event.key()).or_insert_with(|| event.clone());
        if event.precedes(standing) {
            *standing = event.clone();
        }
    }
    let distinct = set.values().map(|events| events.len() as u64).sum();
    let snapshots = set.into_iter().map(|(id, events)| {
        let mut state = ConvergentState::default();
        for event in events.values() {
            let _ = aggregator.apply(&mut state, event);
        }
        (id, aggregator.snapshot(&state, as_of))
    });
    (distinct, snapshots.collect())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn any_order_any_duplicates_and_any_batches_give_the_fold_of_the_set(
        events in prop::collection::vec(event(), 1..24),
        again in prop::collection::vec(any::<Index>(), 0..12),
        cuts in prop::collection::vec(any::<Index>(), 0..6),
        as_of in prop::option::of(-100..8_000_i64),
    ) {
        let aggregator = Convergent::default();
        let as_of = as_of.map(at);
        let mut sent = events.clone();
        sent.extend(again.iter().map(|index| events[index.index(events.len())].clone()));
        let mut ends: Vec<usize> = cuts.iter().map(|index| index.index(sent.len())).chain([sent.len()]).collect();
        ends.sort_unstable();

        let mut memory = Memory::default();
        let (mut begin, mut applied) = (0, 0);
        for end in ends {
            applied += memory.take(&Aggregators::new(aggregator.clone()), &sent[begin..end]);
            begin = end;
        }

        let (distinct, expected) = model(&aggregator, &events, as_of);
        prop_assert_eq!(memory.snapshots(&aggregator, as_of), expected);
        prop_assert_eq!(applied, distinct, "an event counts once, however many versions of it come");
    }

    #[test]
    fn a_state_survives_its_way_through_json(events in prop::collection::vec(event(), 1..24)) {
        let aggregator = Convergent::default();
        let mut state = ConvergentState::default();
        for event in &events {
            let _ = aggregator.apply(&mut state, event);
        }
        let json = serde_json::to_string(&state).unwrap();
        prop_assert_eq!(serde_json::from_str::<ConvergentState>(&json).unwrap(), state);
    }
}
