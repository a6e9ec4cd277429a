//! Numbers with the ranges of the wire.

use std::cmp::Ordering;

use serde::{Deserialize, Serialize};

/// A number outside its range. It never quotes the number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected {0}")]
pub struct OutOfRange(pub &'static str);

/// A count: 0 to 2^63 - 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Count(i64);

impl Count {
    pub const RULE: &'static str = "an integer of at least 0";

    /// # Errors
    /// If the number is negative.
    pub fn new(value: i64) -> Result<Self, OutOfRange> {
        if value >= 0 { Ok(Self(value)) } else { Err(OutOfRange(Self::RULE)) }
    }

    pub fn get(self) -> i64 {
        self.0
    }
}

/// How long a tool ran: 0 to 3,600,000 milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DurationMs(i32);

impl DurationMs {
    pub const MAX: i32 = 3_600_000;
    pub const RULE: &'static str = "an integer from 0 to 3600000";

    /// # Errors
    /// If the number is negative or more than an hour.
    pub fn new(value: i64) -> Result<Self, OutOfRange> {
        match i32::try_from(value) {
            Ok(value) if (0..=Self::MAX).contains(&value) => Ok(Self(value)),
            _ => Err(OutOfRange(Self::RULE)),
        }
    }

    pub fn get(self) -> i32 {
        self.0
    }
}

/// How long a session ran: 0 to 2,592,000 seconds (30 days), never NaN nor -0.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct DurationSeconds(f64);

impl DurationSeconds {
    pub const MAX: f64 = 2_592_000.0;
    pub const RULE: &'static str = "a number from 0 to 2592000";

    /// # Errors
    /// If the number is negative, not a number, or more than 30 days.
    pub fn new(value: f64) -> Result<Self, OutOfRange> {
        // Adding zero turns -0 into 0, so that equal durations also compare equal by their bits.
        if (0.0..=Self::MAX).contains(&value) { Ok(Self(value + 0.0)) } else { Err(OutOfRange(Self::RULE)) }
    }

    pub fn get(self) -> f64 {
        self.0
    }
}

impl PartialEq for DurationSeconds {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for DurationSeconds {}

impl PartialOrd for DurationSeconds {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for DurationSeconds {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.total_cmp(&other.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn minus_zero_is_zero() {
        assert_eq!(DurationSeconds::new(-0.0).unwrap(), DurationSeconds::new(0.0).unwrap());
    }

    #[test]
    fn the_ends_of_a_range_belong_to_it() {
        assert!(DurationSeconds::new(2_592_000.0).is_ok());
        assert!(DurationSeconds::new(2_592_000.5).is_err());
        assert!(DurationSeconds::new(f64::NAN).is_err());
        assert!(DurationMs::new(3_600_000).is_ok());
        assert!(DurationMs::new(3_600_001).is_err());
        assert!(DurationMs::new(i64::MAX).is_err());
        assert!(Count::new(i64::MAX).is_ok());
        assert!(Count::new(-1).is_err());
    }
}
