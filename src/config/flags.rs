//! The layer of `--set section.key=value` flags.

use super::error::{ConfigError, Origin};
use super::keys::Keys;
use super::layers::{Layer, Raw};

pub(super) fn layer(flags: &[String], keys: &Keys) -> Result<Layer, ConfigError> {
    let mut layer = Layer::default();
    for flag in flags {
        let (key, value) = flag.split_once('=').ok_or(ConfigError::Flag)?;
        let key = key.trim();
        let place = keys.locate(key).ok_or_else(|| ConfigError::unknown(key, keys.nearest(key), Origin::Flag))?;
        layer.add(place, Raw::Text(value), Origin::Flag)?;
    }
    Ok(layer)
}
