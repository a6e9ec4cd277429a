//! `[health]`: when the program counts as stuck, and what else is asked how it is.

use std::{collections::BTreeMap, ops::RangeInclusive, time::Duration};

use super::{
    endpoints::{EndpointConfig, EndpointName},
    error::ConfigError,
    settings::Settings,
};

const STALLED_AFTER: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(3_600);
pub(super) const INTERVAL: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(24 * 3_600);
pub(super) const TIMEOUT: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(600);

/// `[health]`: when the program counts as stuck, and how its dependencies are asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthConfig {
    /// 1s to an hour.
    pub stalled_after: Duration,
    /// What is known of a dependency is no older, where it answers. 100ms to a day.
    pub interval: Duration,
    /// For one question. 100ms to ten minutes.
    pub timeout: Duration,
    /// Those to ask besides.
    pub endpoints: BTreeMap<EndpointName, EndpointConfig>,
}

impl HealthConfig {
    pub(super) fn read(settings: &mut Settings) -> Result<Self, ConfigError> {
        Ok(Self {
            stalled_after: settings.duration("health.stalled_after", STALLED_AFTER)?,
            interval: settings.duration("health.interval", INTERVAL)?,
            timeout: settings.duration("health.timeout", TIMEOUT)?,
            endpoints: EndpointConfig::read_all(settings)?,
        })
    }
}
