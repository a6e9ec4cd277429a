//! What is stored against what the topics hold, up to the checkpoints: by that the tables claim to hold it.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use crate::{
    config::KafkaConfig,
    event::{Decoded, Decoder, SessionId},
    record::{NextOffset, TopicPartition},
    store::{ClaimedSession, Claims, SetAside, Store},
    stream::{LogEnds, LogRange, log_ends, read_logs},
};

use super::{
    VerifyError,
    held::{HeldEvents, Judge, Settings},
    report::Report,
};

/// Sessions whose events are fetched at a time.
const PAGE: usize = 500;
/// How long the broker may take to say where a log ends.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Where events come from.
#[derive(Debug)]
pub struct Topics<'c> {
    pub kafka: &'c KafkaConfig,
    pub decoder: Decoder,
}

/// Compares the stored events of these sessions, or of all where none is named, with the topics. Sessions that the
/// report says differ are looked at event by event. `progress` hears of the records read.
///
/// A version of an event that was lost to retention may stand in the tables, and so may events that are no longer in
/// the topics; these count as differences only where every log begins at its beginning.
///
/// Blocks the thread while it reads the topics, so it needs a runtime of several.
///
/// # Errors
/// If Kafka or Postgres can't be asked.
pub async fn verify_topics(
    store: &Store,
    topics: &Topics<'_>,
    sessions: &[SessionId],
    report: &mut Report,
    mut progress: impl FnMut(u64),
) -> Result<(), VerifyError> {
    let group_id = &topics.kafka.group_id;
    let ends = tokio::task::block_in_place(|| log_ends(topics.kafka, TIMEOUT))?;
    let partitions: Vec<TopicPartition> = ends.iter().map(|ends| ends.partition.clone()).collect();
    let mut reader = Reader { topics, sessions, held: HeldEvents::default(), records: 0 };

    let claims = store.claims(group_id, &partitions).await?;
    reader.read(&whole(&ends, &claims, report), &claims, &mut progress)?;
    // The service may have gone on meanwhile: what it wrote since is read too, up to one moment.
    let before = claims.checkpoints;
    let claims = store.claims_with_sessions(group_id, &partitions, sessions).await?;
    reader.read(&since(&ends, &before, &claims), &claims, &mut progress)?;

    report.records = Some(reader.records);
    let judge =
        Judge { held: reader.held, claimed: claims.sessions, is_whole: ends.iter().all(begins_at_its_beginning) };
    let mut suspects = judge.suspects();
    suspects
        .extend(report.differing().filter(|session_id| sessions.is_empty() || sessions.contains(session_id)).cloned());
    suspects.sort_unstable();
    suspects.dedup();
    for page in suspects.chunks(PAGE) {
        judge.compare(store.stored_events(page).await?, report);
    }
    Ok(())
}

struct Reader<'a> {
    topics: &'a Topics<'a>,
    sessions: &'a [SessionId],
    held: HeldEvents,
    records: u64,
}

impl Reader<'_> {
    fn read(
        &mut self,
        ranges: &[LogRange],
        claims: &Claims,
        progress: &mut impl FnMut(u64),
    ) -> Result<(), VerifyError> {
        let (Topics { kafka, decoder }, others) = (self.topics, accepting_most());
        let (held, records, sessions) = (&mut self.held, &mut self.records, self.sessions);
        let is_wanted = |session_id: &SessionId| sessions.is_empty() || sessions.contains(session_id);
        let read = || {
            read_logs(kafka, ranges, |partition, offset, record| {
                *records += 1;
                progress(*records);
                let find = || claims.dead_letters.get(&(partition.clone(), offset));
                let set_aside = if claims.dead_letters.is_empty() { None } else { find() };
                let (event, by) = match (decoder.decode(record), set_aside) {
                    (Decoded::Event(event), _) => (event, Settings::These),
                    (Decoded::Refused(_), Some(SetAside::Redriven)) => match others.decode(record) {
                        Decoded::Event(event) => (event, Settings::Others),
                        _ => return,
                    },
                    _ => return,
                };
                if !is_wanted(&event.session_id) {
                    return;
                }
                if set_aside.is_some() {
                    held.take_optional(&event, by);
                } else {
                    held.take(&event);
                }
            })
        };
        Ok(tokio::task::block_in_place(read)?)
    }
}

/// What was redriven may have been taken with any settings.
fn accepting_most() -> Decoder {
    Decoder { max_value_bytes: usize::MAX, future_tolerance: Duration::MAX, ignored_kinds: HashSet::new() }
}

fn begins_at_its_beginning(ends: &LogEnds) -> bool {
    ends.earliest.get() == 0
}

/// Each log from its beginning to its checkpoint. A partition without one has nothing in the tables.
fn whole(ends: &[LogEnds], claims: &Claims, report: &mut Report) -> Vec<LogRange> {
    let mut ranges = Vec::new();
    for LogEnds { partition, earliest, .. } in ends {
        let Some(&checkpoint) = claims.checkpoints.get(partition) else { continue };
        if earliest.get() > 0 {
            let what = "what it held before, and is in the tables, can't be compared";
            report.notes.push(format!("{partition}: the log begins at {earliest}; {what}"));
        }
        ranges.push(LogRange { partition: partition.clone(), from: *earliest, to: checkpoint });
    }
    ranges
}

/// What the checkpoints have moved over since.
fn since(ends: &[LogEnds], before: &HashMap<TopicPartition, NextOffset>, claims: &Claims) -> Vec<LogRange> {
    let range = |LogEnds { partition, earliest, .. }: &LogEnds| {
        let to = *claims.checkpoints.get(partition)?;
        let from = before.get(partition).copied().unwrap_or(*earliest).max(*earliest);
        Some(LogRange { partition: partition.clone(), from, to })
    };
    ends.iter().filter_map(range).collect()
}

/// Whether the row was written between two looks at it.
pub(super) fn has_moved(then: Option<&ClaimedSession>, now: Option<&ClaimedSession>) -> bool {
    then.map(|session| session.version) != now.map(|session| session.version)
}
