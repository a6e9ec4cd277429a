//! Asks one dependency again and again.

use std::{panic::AssertUnwindSafe, time::Duration};

use futures_util::FutureExt;

use crate::config::Secrets;

use super::{
    snapshot::{Answer, Fault, Slot},
    status::rest,
};

/// How often, and how long to wait for an answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Schedule {
    pub(super) interval: Duration,
    pub(super) timeout: Duration,
}

/// Asks and notes, for ever. One that hangs is given up after the timeout, and one that panics has failed: both are asked
/// again like any other.
pub(super) async fn poll<F: Future<Output = Answer>>(
    schedule: Schedule,
    name: &str,
    slot: &Slot,
    secrets: &Secrets,
    ask: impl Fn() -> F,
) {
    let Schedule { interval, timeout } = schedule;
    loop {
        let asking = AssertUnwindSafe(ask()).catch_unwind();
        let answer = match tokio::time::timeout(timeout, asking).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_panic)) => Err(Fault::new("the question panicked; this is a bug: please report it with the log")),
            Err(_) => Err(Fault::new(format!("no answer within {timeout:?}"))),
        };
        let before = slot.last();
        slot.note(answer, secrets);
        tell_of_change(name, before.and_then(|before| before.last_error), slot.last().and_then(|now| now.last_error));
        tokio::time::sleep(rest(interval, timeout)).await;
    }
}

/// Once for each change, however often it is asked.
fn tell_of_change(name: &str, before: Option<String>, now: Option<String>) {
    match (before, now) {
        (before, Some(error)) if before.as_ref() != Some(&error) => {
            tracing::warn!(dependency = name, error, "a dependency is not connected");
        }
        (Some(_), None) => tracing::info!(dependency = name, "a dependency is connected again"),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::{
        config::{Config, Sources},
        service::dependencies::snapshot::Counted,
    };

    const SCHEDULE: Schedule = Schedule { interval: Duration::from_secs(300), timeout: Duration::from_secs(30) };

    /// What is known after so long of one that answers like this, by the number of the question; and how often it was asked.
    async fn after<F: Future<Output = Answer>>(
        seconds: u64,
        answer: impl Fn(usize) -> F,
    ) -> (Option<Option<String>>, usize) {
        let (slot, asked) = (Slot::default(), AtomicUsize::new(0));
        let secrets = Config::load(Sources::default()).unwrap().secrets();
        let ask = || answer(asked.fetch_add(1, Ordering::Relaxed));
        let polling = poll(SCHEDULE, "it", &slot, &secrets, ask);
        let _ = tokio::time::timeout(Duration::from_secs(seconds), polling).await;
        (slot.last().map(|seen| seen.last_error), asked.into_inner())
    }

    #[tokio::test(start_paused = true)]
    async fn it_asks_at_once_and_then_early_enough() {
        let well = async |_| Ok(Counted::default());
        assert_eq!(after(1, well).await, (Some(None), 1));
        assert_eq!(after(268, well).await, (Some(None), 1));
        assert_eq!(after(270, well).await, (Some(None), 2));
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_hangs_is_given_up_and_asked_again() {
        let hangs_at_first = async |number| {
            if number == 0 {
                std::future::pending::<()>().await;
            }
            Ok(Counted::default())
        };
        assert_eq!(after(29, hangs_at_first).await, (None, 1));
        assert_eq!(after(31, hangs_at_first).await, (Some(Some("no answer within 30s".to_owned())), 1));
        assert_eq!(after(301, hangs_at_first).await, (Some(None), 2));
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_panics_has_failed_and_is_asked_again() {
        let panics_at_first = async |number| {
            assert!(number > 0, "hunter2");
            Ok(Counted::default())
        };
        let (error, _) = after(1, panics_at_first).await;
        assert!(error.unwrap().unwrap().starts_with("the question panicked"));
        assert_eq!(after(301, panics_at_first).await, (Some(None), 2));
    }
}
