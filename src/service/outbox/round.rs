//! One round: sessions side by side, the rows of each one after the other.

use std::time::{Duration, Instant};

use futures_util::future::join_all;

use crate::{
    backoff::Backoff,
    store::{ErrorText, OutboxRow, RowOutcome, Settled},
    stream::{OutboxProducer, OutboxRecord, Undelivered},
};

/// How long a row that was refused waits.
const WAIT: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(300));

/// What became of a row that was claimed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Delivered,
    Failed(Undelivered),
    /// There was no time for it.
    Left,
}

/// The rows of a round, and what became of each. Rows behind one of their session that wasn't delivered are not in it:
/// nobody has a lease on them.
#[derive(Debug, Default)]
pub(super) struct Sent(Vec<(OutboxRow, Fate)>);

/// Sends the rows. None is begun after an instant.
///
/// A broker refuses batches, not records: one that is refused among others is sent once more alone, and only that counts.
pub(super) async fn send(producer: &OutboxProducer, sessions: Vec<Vec<OutboxRow>>, until: Instant) -> Sent {
    let is_alone = sessions.len() == 1;
    let chains = join_all(sessions.into_iter().map(|rows| send_session(producer, rows, until))).await;
    let mut sent = Sent(chains.into_iter().flatten().collect());
    if is_alone {
        return sent;
    }
    for (row, fate) in &mut sent.0 {
        if matches!(fate, Fate::Failed(why) if why.is_about_the_record()) {
            *fate = send_row(producer, row, until).await;
        }
    }
    sent
}

/// Up to the first that isn't delivered.
async fn send_session(producer: &OutboxProducer, rows: Vec<OutboxRow>, until: Instant) -> Vec<(OutboxRow, Fate)> {
    let mut sent = Vec::with_capacity(rows.len());
    for row in rows {
        let fate = send_row(producer, &row, until).await;
        sent.push((row, fate));
        if fate != Fate::Delivered {
            break;
        }
    }
    sent
}

async fn send_row(producer: &OutboxProducer, row: &OutboxRow, until: Instant) -> Fate {
    if Instant::now() >= until {
        return Fate::Left;
    }
    let (id, version) = (row.key.id.to_string(), row.key.session_version.to_string());
    let record = OutboxRecord {
        key: &row.key.session_id,
        value: &row.value,
        headers: [("id", &id), ("session_version", &version)],
    };
    match producer.send(record).await {
        Ok(()) => Fate::Delivered,
        Err(why) => Fate::Failed(why),
    }
}

impl Sent {
    pub(super) fn any_delivered(&self) -> bool {
        self.0.iter().any(|(_, fate)| *fate == Fate::Delivered)
    }

    /// The first failure that is no row's own.
    pub(super) fn failure(&self) -> Option<Undelivered> {
        self.0.iter().find_map(|(_, fate)| match fate {
            Fate::Failed(why) if !why.is_about_the_record() => Some(*why),
            _ => None,
        })
    }

    /// What is noted of each row. Those that failed for no reason of their own wait for `wait`.
    pub(super) fn outcomes(&self, max_attempts: u32, wait: Duration) -> Vec<Settled> {
        let outcome = |row: &OutboxRow, fate: &Fate| match fate {
            Fate::Delivered => RowOutcome::Published,
            Fate::Left => RowOutcome::Released { wait: Duration::ZERO },
            Fate::Failed(why) if !why.is_about_the_record() => RowOutcome::Released { wait },
            Fate::Failed(why) => refused(row, *why, max_attempts),
        };
        self.0.iter().map(|(row, fate)| (row.key.clone(), outcome(row, fate))).collect()
    }
}

fn refused(row: &OutboxRow, why: Undelivered, max_attempts: u32) -> RowOutcome {
    let bytes = row.key.session_id.len() + row.value.len();
    let why = ErrorText::new(&format!("{why}; the record has {bytes} bytes with its key"));
    if row.attempts + 1 >= max_attempts {
        return RowOutcome::SetAside { why };
    }
    RowOutcome::Refused { why, wait: Backoff::delay(WAIT.0, WAIT.1, row.attempts) }
}
