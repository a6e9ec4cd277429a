//! Waiting until Postgres can be asked again.

use std::time::Duration;

use crate::{
    backoff::Backoff,
    store::{Failure, StoreError},
    stream::Lease,
};

use super::{PipelineError, source::Source};

/// Waits before the next try, as long as the failure calls for.
pub(super) async fn wait_out(error: &StoreError, backoff: &mut Backoff) {
    if let Some(delay) = error.retry_after {
        // The circuit breaker told what it waits for.
        return tokio::time::sleep(delay).await;
    }
    let delay = backoff.next_delay();
    tracing::warn!(%error, retry_in_ms = delay.as_millis(), "Postgres did not take it; nothing is lost, trying again");
    tokio::time::sleep(delay).await;
}

/// Repeats a statement until Postgres is available. None if all of these leases ended meanwhile.
pub(super) async fn until_available<T>(
    consumer: &impl Source,
    leases: &[Lease],
    mut statement: impl AsyncFnMut() -> Result<T, StoreError>,
) -> Result<Option<T>, PipelineError> {
    let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
    loop {
        match statement().await {
            Ok(value) => return Ok(Some(value)),
            Err(error) if matches!(error.failure, Failure::Data | Failure::Setup) => return Err(error.into()),
            Err(error) => wait_out(&error, &mut backoff).await,
        }
        if !leases.iter().any(|lease| consumer.leases().is_current(lease)) {
            return Ok(None);
        }
    }
}
