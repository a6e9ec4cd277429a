//! Where a checkpoint is to go.

use std::str::FromStr;

use crate::{event::EventTime, record::NextOffset};

/// A place in a log that is known by what it holds now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Earliest,
    Latest,
    Offset(NextOffset),
}

/// The same, or by time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target {
    Place(Place),
    /// The first record that was sent then or later.
    Time(EventTime),
}

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "earliest" => Ok(Self::Earliest),
            "latest" => Ok(Self::Latest),
            _ => match text.parse() {
                Ok(offset) if offset >= 0 => Ok(Self::Offset(NextOffset::new(offset))),
                _ => Err("allowed: earliest, latest, or an offset of at least 0".to_owned()),
            },
        }
    }
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let place = text.parse().map(Self::Place);
        let time = |_| EventTime::parse(text).map(Self::Time);
        place.or_else(time).map_err(|_| {
            "allowed: earliest, latest, an offset of at least 0, or a time like 2026-03-01T00:00:00Z".to_owned()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_a_word_an_offset_or_a_time() {
        assert_eq!("latest".parse(), Ok(Target::Place(Place::Latest)));
        assert_eq!("2026".parse(), Ok(Target::Place(Place::Offset(NextOffset::new(2026)))));
        let time = EventTime::parse("2026-03-01T00:00:00Z").unwrap();
        assert_eq!("2026-03-01T00:00:00Z".parse(), Ok(Target::Time(time)));
        for text in ["", "-1", "newest", "2026-03-01", "1.5"] {
            assert!(text.parse::<Target>().is_err(), "{text}");
        }
    }
}
