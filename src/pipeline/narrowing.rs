//! Narrows a batch that Postgres refuses down to the event at fault, so that the rest goes on.

use crate::{
    event::{Reason, Refusal},
    store::StoreError,
};

use super::PipelineError;

/// What came of the attempt to commit the front of a batch.
#[must_use]
pub(super) enum Attempted {
    Done,
    /// Postgres refuses the data of at least one event in it.
    Refused(StoreError),
}

/// A batch that is committed from its front on.
pub(super) trait Narrowing {
    /// How many of its records aren't committed yet.
    fn len(&self) -> usize;

    /// Commits the first `count` records, or fewer; lets go of those that somebody else has dealt with.
    async fn commit_front(&mut self, count: usize) -> Result<Attempted, PipelineError>;

    /// Has the first record refused, or lets go of it to be read again for that. False if it was no event.
    fn condemn_first(&mut self, refusal: Refusal) -> bool;
}

/// Commits a batch, whatever it takes.
///
/// # Errors
/// See [`PipelineError`].
pub(super) async fn commit_all(batch: &mut impl Narrowing) -> Result<(), PipelineError> {
    while batch.len() > 0 {
        let all = batch.len();
        if let Attempted::Refused(error) = batch.commit_front(all).await? {
            tracing::warn!(%error, records = batch.len(), "looking for the event that Postgres refuses");
            commit_up_to_the_refused(batch).await?;
        }
    }
    Ok(())
}

/// Halves the refused front until its first refused event is found: commits what is before it, and condemns it. Takes
/// one transaction a halving, and one to see the event refused by itself.
async fn commit_up_to_the_refused(batch: &mut impl Narrowing) -> Result<(), PipelineError> {
    let mut suspects = batch.len();
    while suspects > 1 {
        let (half, before) = (suspects / 2, batch.len());
        match batch.commit_front(half).await? {
            Attempted::Done if batch.len() == before - half => suspects -= half,
            Attempted::Refused(_) if batch.len() == before => suspects = half,
            // Somebody else took records meanwhile: what is left is another batch.
            Attempted::Done | Attempted::Refused(_) => return Ok(()),
        }
    }
    // Halving told where it must be, but not that it is refused alone.
    let Attempted::Refused(error) = batch.commit_front(1).await? else { return Ok(()) };
    let sqlstate = error.sqlstate.as_deref().unwrap_or("unknown");
    let detail = format!("Postgres refuses this event's data (SQLSTATE {sqlstate})");
    if batch.condemn_first(Refusal::new(Reason::Unstorable, detail)) {
        Ok(())
    } else {
        Err(PipelineError::DeadLetterRefused(error))
    }
}
