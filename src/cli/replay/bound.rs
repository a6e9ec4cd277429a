//! The ends of a replay, as they are written on the command line.

use std::str::FromStr;

use chrono::{DateTime, Utc};

use crate::{
    event::EventTime,
    record::{NextOffset, TopicPartition},
    service::Bound,
};

/// Where a replay begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct From(Bound);

/// Where it ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct To(Bound);

impl FromStr for From {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        parse(text, "beginning").map(Self)
    }
}

impl FromStr for To {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        parse(text, "now").map(Self)
    }
}

impl std::convert::From<From> for Bound {
    fn from(From(bound): From) -> Self {
        bound
    }
}

impl std::convert::From<To> for Bound {
    fn from(To(bound): To) -> Self {
        bound
    }
}

fn parse(text: &str, log: &str) -> Result<Bound, String> {
    if text == log {
        return Ok(Bound::Log);
    }
    if let Ok(time) = EventTime::parse(text) {
        let time: DateTime<Utc> = time.as_utc();
        return Ok(Bound::Time(time));
    }
    let offsets: Option<Vec<_>> = text.split(',').map(offset).collect();
    let allowed = || {
        format!(
            "allowed: {log}, a time like 2026-03-01T09:00:00Z, or offsets like TOPIC:PARTITION:OFFSET, separated by commas"
        )
    };
    offsets.map(Bound::Offsets).ok_or_else(allowed)
}

fn offset(text: &str) -> Option<(TopicPartition, NextOffset)> {
    let mut parts = text.trim().rsplitn(3, ':');
    let offset: i64 = parts.next()?.parse().ok().filter(|offset| *offset >= 0)?;
    let partition: i32 = parts.next()?.parse().ok().filter(|partition| *partition >= 0)?;
    let topic = parts.next().filter(|topic| !topic.is_empty())?;
    Some((TopicPartition::new(topic, partition), NextOffset::new(offset)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_is_a_word_a_time_or_offsets() {
        assert_eq!("beginning".parse(), Ok(From(Bound::Log)));
        assert_eq!("now".parse(), Ok(To(Bound::Log)));
        let To(Bound::Time(time)) = "2026-03-01T09:00:00+01:00".parse().unwrap() else { panic!("no time") };
        assert_eq!(time.to_rfc3339(), "2026-03-01T08:00:00+00:00");
        let From(offsets) = "a.b:0:5, c:2:7".parse().unwrap();
        let place = |topic: &str, partition, offset| (TopicPartition::new(topic, partition), NextOffset::new(offset));
        assert_eq!(offsets, Bound::Offsets(vec![place("a.b", 0, 5), place("c", 2, 7)]));
    }

    #[test]
    fn what_is_none_of_these_is_refused() {
        for text in ["", "now", "tomorrow", "a:0", "a:0:-1", "a:x:1", ":0:1", "a:0:1,"] {
            assert!(text.parse::<From>().is_err(), "{text}");
        }
    }
}
