//! Writes sessions that differ anew from their stored events.

use std::{collections::HashMap, slice};

use crate::{
    event::SessionId,
    fold::{Aggregators, SessionAggregator, SessionChange},
    store::{CommitError, PageStart, StoreError, StoredPage, StoredSession},
};

use super::{Verification, fields::expected, report::Report};

impl<A: SessionAggregator> Verification<'_, A> {
    /// Compares as [`Self::compare`] does, and writes the sessions that differ anew. One that the service writes
    /// meanwhile is left to the next run. Once nothing of the whole table is left, the aggregators count as complete.
    ///
    /// # Errors
    /// If Postgres can't be asked or refuses; if a session was folded by an aggregator that this one can't take over
    /// from.
    pub async fn repair(&self, report: &mut Report, mut progress: impl FnMut(&Report)) -> Result<(), StoreError> {
        let mut start = Some(PageStart::default());
        let (mut repaired, mut left) = (0, 0);
        while let Some(from) = start {
            let page = self.page(&from).await?;
            let differing = self.compare_page(&page, report);
            start = page.next.clone();
            let written = self.repair_page(page, &differing).await?;
            repaired += written;
            left += differing.len() as u64 - written;
            (report.repaired, report.left) = (Some(repaired), Some(left));
            progress(report);
        }
        if self.selection.is_everything() && left == 0 {
            self.store.mark_aggregators_complete(self.aggregators).await?;
        }
        Ok(())
    }

    /// Returns how many sessions were written.
    async fn repair_page(&self, page: StoredPage<A::State>, differing: &[SessionId]) -> Result<u64, StoreError> {
        let changes = repairs(self.aggregators, page, differing)?;
        if changes.is_empty() {
            return Ok(0);
        }
        if self.write(&changes).await? {
            return Ok(changes.len() as u64);
        }
        // One of them was written meanwhile: the others each by itself.
        let mut written = 0;
        for change in &changes {
            written += u64::from(self.write(slice::from_ref(change)).await?);
        }
        Ok(written)
    }

    /// Returns whether they were still as read, and so were written.
    async fn write(&self, changes: &[SessionChange<'static, A::State>]) -> Result<bool, StoreError> {
        match self.store.repair(self.aggregators, changes).await {
            Ok(()) => Ok(true),
            Err(CommitError::Store(error)) => Err(error),
            Err(CommitError::Conflict | CommitError::Fenced(_)) => Ok(false),
        }
    }
}

/// What can be written of these sessions: not one without events, nor one that was deleted, nor one whose order of
/// arrival is asked for and not known.
fn repairs<A: SessionAggregator>(
    aggregators: &Aggregators<A>,
    page: StoredPage<A::State>,
    differing: &[SessionId],
) -> Result<Vec<SessionChange<'static, A::State>>, StoreError> {
    let in_order = aggregators.session.depends_on_order();
    let differs = |session_id: &SessionId| differing.contains(session_id);
    if page.sessions.iter().any(|session| !session.can_be_taken_over(&aggregators.session)) {
        return Err(StoreError::other_aggregator(aggregators.session.id()));
    }
    let rows: HashMap<&SessionId, &StoredSession> =
        page.sessions.iter().map(|session| (&session.session_id, session)).collect();
    let mut changes = Vec::new();
    for mut change in page.folded {
        let is_ordered = !in_order || (change.read.is_some() && !page.unordered.contains(&change.session_id));
        if differs(&change.session_id) && is_ordered && !page.deleted.contains(&change.session_id) {
            let row = rows.get(&change.session_id).copied();
            change.folded = expected(&aggregators.session, &change.folded, row);
            changes.push(change);
        }
    }
    Ok(changes)
}
