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
pub use report::{Difference, Report};
pub use topics::{Topics, verify_topics};

use std::collections::HashMap;

use crate::{
    event::SessionId,
    fold::{Aggregators, SessionAggregator, SessionChange},
    store::{PageStart, Selection, Store, StoreError, StoredPage},
};

/// What is compared: sessions of a store, with what these aggregators make of their stored events.
#[derive(Debug)]
pub struct Verification<'s, A> {
    pub store: &'s Store,
    pub aggregators: &'s Aggregators<A>,
    pub selection: &'s Selection,
}

impl<A: SessionAggregator> Verification<'_, A> {
    /// Compares the selected sessions with the folds of their stored events. `progress` sees the report after each
    /// page.
    ///
    /// # Errors
    /// If Postgres can't be asked.
    pub async fn compare(&self, report: &mut Report, mut progress: impl FnMut(&Report)) -> Result<(), StoreError> {
        let mut start = Some(PageStart::default());
        while let Some(from) = start {
            let page = self.page(&from).await?;
            self.compare_page(&page, report);
            progress(report);
            start = page.next;
        }
        Ok(())
    }

    async fn page(&self, from: &PageStart) -> Result<StoredPage<A::State>, StoreError> {
        self.store.stored_page(self.aggregators, self.selection, from).await
    }

    /// Adds a page's differences to the report, and returns the sessions that have any.
    fn compare_page(&self, page: &StoredPage<A::State>, report: &mut Report) -> Vec<SessionId> {
        let folded: HashMap<&SessionId, &SessionChange<'static, A::State>> =
            page.folded.iter().map(|change| (&change.session_id, change)).collect();
        let mut differing = Vec::new();
        report.sessions += page.sessions.len() as u64;
        report.events += page.events;
        for session in &page.sessions {
            let found = match folded.get(&session.session_id) {
                _ if page.deleted.contains(&session.session_id) => {
                    vec![Difference::of_session(&session.session_id, "a row", "nothing, since it was deleted")]
                }
                Some(change) => fields::differences(self.aggregators, session, change),
                None if page.unreadable.contains_key(&session.session_id) => Vec::new(),
                None => vec![Difference::of_session(&session.session_id, "a row", "no row, since it has no events")],
            };
            if !found.is_empty() {
                differing.push(session.session_id.clone());
                report.add(&session.session_id, found);
            }
        }
        for session_id in &page.without_row {
            let has_events = folded.contains_key(session_id) || page.unreadable.contains_key(session_id);
            let (stored, expected) = match (page.deleted.contains(session_id), has_events) {
                (true, _) => ("events", "nothing, since it was deleted"),
                (false, true) => ("missing", "a row, since it has events"),
                (false, false) => ("missing", "nothing, since it has no events"),
            };
            report.add(session_id, vec![Difference::of_session(session_id, stored, expected)]);
            differing.push(session_id.clone());
        }
        for (session_id, values) in &page.unreadable {
            report.add(session_id, values.iter().map(|value| Difference::unreadable(session_id, *value)).collect());
            if !differing.contains(session_id) {
                differing.push(session_id.clone());
            }
        }
        differing
    }
}
