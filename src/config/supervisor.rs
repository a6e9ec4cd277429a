//! `[supervisor]`: how parts that fail are begun anew.

use std::{num::NonZeroU32, time::Duration};

use super::{error::ConfigError, settings::Settings};

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);

/// `[supervisor]`: how parts that fail are begun anew.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SupervisorConfig {
    /// Of all parts together within the window, 1 to 1,000,000.
    pub max_restarts: NonZeroU32,
    /// A second to a week.
    pub window: Duration,
    /// 100ms to an hour.
    pub probe_timeout: Duration,
}

impl SupervisorConfig {
    pub(super) fn read(settings: &mut Settings) -> Result<Self, ConfigError> {
        Ok(Self {
            max_restarts: settings.count("supervisor.max_restarts", 1..=1_000_000)?,
            window: settings.duration("supervisor.window", SECOND..=HOUR * 24 * 7)?,
            probe_timeout: settings.duration("supervisor.probe_timeout", Duration::from_millis(100)..=HOUR)?,
        })
    }
}
