//! The aggregator's settings that belong to a generation, and not to whoever reads it.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    backoff::Backoff,
    config::{AggregatorConfig, AggregatorKind, Config, SchemaName},
    fold::{Aggregators, SideAggregators},
    pipeline::Renewed,
    store::{Failure, Generation, GenerationName, MigrationState, Store, StoreError},
};

use super::{Configured, decoder, open_store};

/// As the column `settings` keeps them. Times are milliseconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Settings {
    kind: String,
    inactivity_timeout_ms: u64,
    reopen_grace_ms: u64,
    future_tolerance_ms: u64,
    keep_rejected: bool,
}

impl Settings {
    fn of(config: &AggregatorConfig) -> Self {
        let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        Self {
            kind: config.kind.to_string(),
            inactivity_timeout_ms: millis(config.inactivity_timeout),
            reopen_grace_ms: millis(config.reopen_grace),
            future_tolerance_ms: millis(config.future_tolerance),
            keep_rejected: config.keep_rejected,
        }
    }

    fn into_config(self) -> Option<AggregatorConfig> {
        let kinds = [AggregatorKind::Convergent, AggregatorKind::Reference];
        Some(AggregatorConfig {
            kind: kinds.into_iter().find(|kind| kind.to_string() == self.kind)?,
            inactivity_timeout: Duration::from_millis(self.inactivity_timeout_ms),
            reopen_grace: Duration::from_millis(self.reopen_grace_ms),
            future_tolerance: Duration::from_millis(self.future_tolerance_ms),
            keep_rejected: self.keep_rejected,
        })
    }
}

/// The aggregator that a generation's sessions are folded with; none: the configuration's.
///
/// # Errors
/// If a newer build wrote them.
pub fn settings_of(generation: &Generation) -> Result<Option<AggregatorConfig>, StoreError> {
    let Some(settings) = &generation.settings else { return Ok(None) };
    let settings = serde_json::from_value::<Settings>(settings.clone()).ok().and_then(Settings::into_config);
    let unknown = || {
        let what = format!("this build doesn't know the settings of generation {}", generation.name);
        StoreError::new(Failure::Setup, what)
    };
    settings.map(Some).ok_or_else(unknown)
}

/// The configuration with the live generation's own settings over it, and a store that writes to no other generation.
///
/// # Errors
/// If Postgres can't be asked, or a newer build made the generation.
pub async fn adopt_generation(mut config: Config, store: &Store) -> Result<(Config, Store), StoreError> {
    let generation = store.generation().await?;
    if let Some(settings) = settings_of(&generation)?
        && settings != config.aggregator
    {
        tracing::warn!(
            generation = %generation.name,
            inactivity_timeout = ?settings.inactivity_timeout,
            reopen_grace = ?settings.reopen_grace,
            "the live generation was folded with settings of its own, which count: the section [aggregator] differs"
        );
        config.aggregator = settings;
    }
    Ok((config, store.bound_to(generation.id)))
}

/// The same, but waits while Postgres is away.
///
/// # Errors
/// If somebody has to act.
pub(super) async fn adopt_when_available(config: &Config, store: &Store) -> Result<(Config, Store), StoreError> {
    let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
    loop {
        match adopt_generation(config.clone(), store).await {
            Err(error) if error.failure != Failure::Setup => {
                let delay = error.retry_after.unwrap_or_else(|| backoff.next_delay());
                tracing::warn!(%error, "the live generation is not known yet; trying again");
                tokio::time::sleep(delay).await;
            }
            adopted => return adopted,
        }
    }
}

/// What to go on with where the tables have become another generation's, from the configuration as it was loaded. None
/// where they haven't, or where an aggregator of another kind is needed.
pub async fn renewed<A: Configured>(
    config: &Config,
    bound: &Store,
    sides: &SideAggregators,
) -> Option<Renewed<Store, A>> {
    if !bound.is_outdated().await {
        return None;
    }
    let (config, store) = adopt_generation(config.clone(), bound).await.ok()?;
    if config.aggregator.kind != A::KIND {
        return None;
    }
    tracing::info!(schema = store.schema(), "another generation was promoted: going on with it");
    let aggregators = Aggregators { session: A::configured(&config), sides: sides.clone() };
    Some(Renewed { store, aggregators, decoder: decoder(&config), keep_rejected: config.aggregator.keep_rejected })
}

/// A generation beside the live one.
#[derive(Debug)]
pub struct OtherGeneration {
    pub generation: Generation,
    /// With its schema, and its settings where it has some.
    pub config: Config,
    pub store: Store,
}

/// Opens a generation beside the live one; none if there is no such one. One whose making was cut short is made to its
/// end, with the configuration's settings.
///
/// # Errors
/// If Postgres refuses.
pub async fn open_generation(
    config: &Config,
    live: &Store,
    name: &GenerationName,
) -> Result<Option<OtherGeneration>, StoreError> {
    if !live.other_generations().await?.contains(name) {
        return Ok(None);
    }
    let (mut config, store) = at_schema(config, live, name)?;
    if store.migration_state().await? != MigrationState::Current {
        store.migrate().await?;
    }
    let mut generation = store.generation().await?;
    if generation.name != *name {
        name_generation(&config, live, &store, name).await?;
        generation = store.generation().await?;
    }
    if let Some(settings) = settings_of(&generation)? {
        config.aggregator = settings;
    }
    let store = store.bound_to(generation.id);
    Ok(Some(OtherGeneration { generation, config, store }))
}

/// Makes a generation, whose sessions will be folded as the configuration says.
///
/// # Errors
/// If Postgres refuses, or the live one has that name.
pub async fn make_generation(
    config: &Config,
    live: &Store,
    name: &GenerationName,
) -> Result<OtherGeneration, StoreError> {
    if live.generation().await?.name == *name {
        return Err(StoreError::new(Failure::Setup, format!("generation {name} is the live one; choose another name")));
    }
    let (config, store) = at_schema(config, live, name)?;
    store.migrate().await?;
    name_generation(&config, live, &store, name).await?;
    let generation = store.generation().await?;
    let store = store.bound_to(generation.id);
    Ok(OtherGeneration { generation, config, store })
}

async fn name_generation(
    config: &Config,
    live: &Store,
    store: &Store,
    name: &GenerationName,
) -> Result<(), StoreError> {
    let settings = serde_json::to_value(Settings::of(&config.aggregator)).unwrap_or(Value::Null);
    store.name_generation(name, &settings, live).await
}

fn at_schema(config: &Config, live: &Store, name: &GenerationName) -> Result<(Config, Store), StoreError> {
    let schema = SchemaName::try_from(name.schema(live.schema()));
    let schema = schema.map_err(|refusal| StoreError::new(Failure::Setup, refusal.to_string()))?;
    let mut config = config.clone();
    config.postgres.schema = schema;
    let store = open_store(&config);
    Ok((config, store))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Sources;

    #[test]
    fn settings_come_back_as_they_were_kept() {
        let flags = vec!["aggregator.inactivity_timeout=30m".to_owned(), "aggregator.reopen_grace=5s".to_owned()];
        let config = Config::load(Sources { flags, ..Sources::default() }).unwrap().aggregator;
        let kept = serde_json::to_value(Settings::of(&config)).unwrap();
        let back = serde_json::from_value::<Settings>(kept).unwrap().into_config();
        assert_eq!(back, Some(config));
    }
}
