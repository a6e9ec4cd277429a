//! Whether the tables hold what they should: each session's row against the fold of its stored events, field by field.
//!
//! Reads in pages, each of one moment, so that it can run beside the service.

mod error;
mod fields;
mod held;
mod repair;
mod report;
mod topics;

pub use error::VerifyError;
pub use repair::repair_stored;
pub use report::{Difference, Report};
pub use topics::{Topics, verify_topics};

use std::collections::HashMap;

use crate::{
    event::{EventTime, SessionId},
    fold::{Aggregators, SessionAggregator, SessionChange},
    store::{PageStart, Selection, Store, StoreError, StoredPage},
};

/// Compares the selected sessions with the folds of their stored events. `progress` sees the report after each page.
///
/// # Errors
/// If Postgres can't be asked, or holds an event that this build can't read.
pub async fn verify_stored<A: SessionAggregator>(
    store: &Store,
    aggregators: &Aggregators<A>,
    selection: &Selection,
    now: EventTime,
    report: &mut Report,
    mut progress: impl FnMut(&Report),
) -> Result<(), StoreError> {
    let mut start = Some(PageStart::default());
    while let Some(from) = start {
        let page = store.stored_page(aggregators, selection, &from).await?;
        compare_page(aggregators, &page, now, report);
        progress(report);
        start = page.next;
    }
    Ok(())
}

/// Adds a page's differences to the report, and returns the sessions that have any.
fn compare_page<A: SessionAggregator>(
    aggregators: &Aggregators<A>,
    page: &StoredPage<A::State>,
    now: EventTime,
    report: &mut Report,
) -> Vec<SessionId> {
    let folded: HashMap<&SessionId, &SessionChange<'static, A::State>> =
        page.folded.iter().map(|change| (&change.session_id, change)).collect();
    let mut differing = Vec::new();
    report.sessions += page.sessions.len() as u64;
    report.events += page.events;
    for session in &page.sessions {
        let found = match folded.get(&session.session_id) {
            Some(change) => fields::differences(aggregators, session, change, now),
            None => vec![Difference::of_session(&session.session_id, "a row", "no row, since it has no events")],
        };
        if !found.is_empty() {
            differing.push(session.session_id.clone());
            report.add(&session.session_id, found);
        }
    }
    for session_id in &page.without_row {
        let expected = match folded.get(session_id) {
            Some(_) => "a row, since it has events",
            None => "nothing, since it has no events",
        };
        report.add(session_id, vec![Difference::of_session(session_id, "missing", expected)]);
        differing.push(session_id.clone());
    }
    differing
}
