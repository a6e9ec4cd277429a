//! How fresh an answer is: told with each, and found out at most every other second.

use std::time::{Duration, Instant};

use chrono::{DateTime, SubsecRound, Utc};
use serde::Serialize;
use tokio::sync::Mutex;

use crate::store::{Recency, Store};

use super::{
    super::reader::Reader,
    source::{Lag, Source},
};

/// How old it may be. What is told with it is read later, so that it is as fresh at least.
const GOOD_FOR: Duration = Duration::from_secs(2);

/// How far the tables were behind, at a moment before the answer was read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Freshness {
    #[serde(flatten)]
    pub(super) lag: Lag,
    /// The time of the latest event that is stored.
    pub(super) last_event_at: Option<DateTime<Utc>>,
    /// When a checkpoint was last moved.
    pub(super) last_checkpoint_at: Option<DateTime<Utc>>,
    /// When this was found out.
    pub(super) as_of: DateTime<Utc>,
}

/// The last one that was found out.
#[derive(Debug, Default)]
pub(super) struct LastFreshness(Mutex<Option<(Instant, Freshness)>>);

impl LastFreshness {
    /// How fresh the tables are. Times are missing where Postgres can't be asked.
    pub(super) async fn get(&self, source: &Source, reader: &Reader, group_id: &str) -> Freshness {
        let mut last = self.0.lock().await;
        if let Some((_, freshness)) = last.as_ref().filter(|(at, _)| at.elapsed() < GOOD_FOR) {
            return freshness.clone();
        }
        let as_of = Utc::now().trunc_subsecs(3);
        let asked = group_id.to_owned();
        let (lag, recency) = tokio::join!(
            source.lag(reader, group_id),
            reader.ask(async move |store: Store| store.recency(&asked).await)
        );
        let is_known = recency.is_ok();
        let Recency { last_event_at, last_checkpoint_at, .. } = recency.unwrap_or_default();
        let freshness = Freshness { lag, last_event_at, last_checkpoint_at, as_of };
        *last = is_known.then(|| (Instant::now(), freshness.clone()));
        freshness
    }
}
