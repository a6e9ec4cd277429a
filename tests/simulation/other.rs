//! Another process of the group: it commits records in one go, whoever else is at it.

use sessionfold::{
    event::{Decoded, Event, Reason, Refusal},
    fold::{Aggregators, BatchFold, Convergent, Wanted},
    record::{NextOffset, Record, RecordOffset, TopicPartition},
    store::{BatchCommit, CheckpointMove, DeadLetter, Publication, TakenFrom},
};

use crate::{broker::Broker, commit::Write, memory, records::is_unstorable, tables::Tables};

/// Commits up to `count` records from the checkpoint on, if there is one.
pub fn commit(
    broker: &Broker,
    tables: &mut Tables,
    aggregators: &Aggregators<Convergent>,
    partition: &TopicPartition,
    count: u8,
) {
    tables.land();
    let Some(expected) = tables.checkpoints.get(partition).copied() else { return };
    let records: Vec<(Record, Decoded)> = (expected.get()..expected.get() + i64::from(count))
        .map_while(|offset| broker.read(partition, NextOffset::new(offset)))
        .map(|(record, decoded)| (record, without_unstorable(tables, decoded)))
        .collect();
    if records.is_empty() {
        return;
    }
    let next = NextOffset::new(expected.get() + i64::try_from(records.len()).unwrap());
    let events: Vec<&Event> = records.iter().filter_map(|(_, decoded)| as_event(decoded)).collect();
    let mut fold =
        BatchFold::new(aggregators, memory::standing(tables, aggregators, &Wanted::everything_of(events.clone())));
    events.into_iter().for_each(|event| fold.push(event));
    let sessions = fold.sessions_to_refold();
    let stored = sessions.iter().filter_map(|session| tables.events.get(session));
    let folded = fold.finish(stored.flat_map(|events| events.values().cloned()));
    let letter = |(offset, (record, decoded)): (i64, &'_ (Record, Decoded))| match decoded {
        Decoded::Refused(refusal) => Some((RecordOffset::new(offset), record.clone(), refusal.clone())),
        Decoded::Event(_) | Decoded::Ignored => None,
    };
    let letters: Vec<_> = (expected.get()..).zip(&records).filter_map(letter).collect();
    let dead_letters: Vec<_> = letters
        .iter()
        .map(|(offset, record, refusal)| DeadLetter { partition, offset: *offset, record, refusal })
        .collect();
    let moves = [CheckpointMove { partition: partition.clone(), expected, next }];
    let taken_from = TakenFrom::Log { group_id: "group", moves: &moves, dead_letters: &dead_letters };
    let publication = Publication::Published;
    let batch = BatchCommit { taken_from, aggregators, changes: &folded.changes, publication };
    tables.commit(Write::of(&batch)).expect("nobody is in between");
}

fn as_event(decoded: &Decoded) -> Option<&Event> {
    if let Decoded::Event(event) = decoded { Some(event) } else { None }
}

/// What a deleted session's event is, the store never finds out.
fn without_unstorable(tables: &Tables, decoded: Decoded) -> Decoded {
    match decoded {
        Decoded::Event(event) if is_unstorable(&event) && !tables.deleted.contains(&event.session_id) => {
            Decoded::Refused(Refusal::new(Reason::Unstorable, "refused"))
        }
        decoded => decoded,
    }
}
