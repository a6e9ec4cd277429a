//! Instants: an event's own, with microseconds as Postgres has them, and a record's, in milliseconds as Kafka has them.

use std::{fmt, time::Duration};

use chrono::{DateTime, Datelike, NaiveDate, TimeDelta, Timelike, Utc};
use serde::{Deserialize, Serialize, Serializer};

/// When an event was emitted: an instant of whole microseconds in the years 0001 to 9999 (UTC).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize)]
pub struct EventTime(DateTime<Utc>);

/// A text or an instant that is no [`EventTime`]. It never quotes the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected a time like 2026-03-01T09:00:00.123456Z in the years 0001 to 9999")]
pub struct InvalidTime;

impl EventTime {
    /// The last microsecond of the year 9999.
    pub const MAX: Self = match DateTime::from_timestamp_micros(253_402_300_799_999_999) {
        Some(instant) => Self(instant),
        None => panic!("a DateTime holds the year 9999"),
    };

    /// Parses `YYYY-MM-DD`, then `T`, `t` or a space, `hh:mm:ss`, optionally `.` and 1 to 9 digits, optionally `Z`,
    /// `z` or `±hh:mm` (UTC without). Digits after the sixth are cut off.
    ///
    /// Our own parser, since chrono's accept more: leap seconds, missing seconds, other separators, any spacing.
    ///
    /// # Errors
    /// If the text is of another form, or the instant in UTC lies outside the years 0001 to 9999 (it could not be
    /// written down again).
    pub fn parse(text: &str) -> Result<Self, InvalidTime> {
        let mut reader = Reader(text.as_bytes());
        let date = reader.date()?;
        reader.one_of(b"Tt ")?;
        let (hour, minute) = (reader.digits(2)?, {
            reader.one_of(b":")?;
            reader.digits(2)?
        });
        reader.one_of(b":")?;
        let second = reader.digits(2)?;
        if second > 59 {
            return Err(InvalidTime); // chrono would take 60 for a leap second
        }
        let micros = reader.fraction()?;
        let offset_minutes = reader.offset()?;
        let local = date.and_hms_micro_opt(hour, minute, second, micros).ok_or(InvalidTime)?;
        let utc = local.checked_sub_signed(TimeDelta::minutes(offset_minutes)).ok_or(InvalidTime)?;
        Self::from_utc(utc.and_utc())
    }

    /// Cuts off what is below a microsecond.
    ///
    /// # Errors
    /// If the instant lies outside the years 0001 to 9999.
    pub fn from_utc(instant: DateTime<Utc>) -> Result<Self, InvalidTime> {
        let year = instant.year();
        let micros = DateTime::from_timestamp_micros(instant.timestamp_micros()).ok_or(InvalidTime)?;
        if (1..=9999).contains(&year) { Ok(Self(micros)) } else { Err(InvalidTime) }
    }

    pub fn as_utc(self) -> DateTime<Utc> {
        self.0
    }

    pub fn micros_since_epoch(self) -> i64 {
        self.0.timestamp_micros()
    }

    /// Seconds from `earlier` to this instant; negative if it is the earlier one.
    pub fn seconds_since(self, earlier: EventTime) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "9999 years of microseconds fit a double to the microsecond")]
        let micros = (self.micros_since_epoch() - earlier.micros_since_epoch()) as f64;
        micros / 1e6
    }

    /// Whether this instant is later than `earlier` by more than `margin`.
    pub fn is_later_by_more_than(self, margin: Duration, earlier: EventTime) -> bool {
        self.micros_after(earlier) > micros_of(margin)
    }

    /// Whether this instant is later than `earlier` by `margin` or more.
    pub fn is_later_by_at_least(self, margin: Duration, earlier: EventTime) -> bool {
        self.micros_after(earlier) >= micros_of(margin)
    }

    fn micros_after(self, earlier: EventTime) -> i128 {
        i128::from(self.micros_since_epoch()) - i128::from(earlier.micros_since_epoch())
    }
}

fn micros_of(duration: Duration) -> i128 {
    i128::try_from(duration.as_micros()).unwrap_or(i128::MAX)
}

impl fmt::Display for EventTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Rfc3339::of(*self).as_str())
    }
}

/// As [`fmt::Display`] writes it, and as chrono's would be serialized.
impl Serialize for EventTime {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(Rfc3339::of(*self).as_str())
    }
}

/// An instant as text, `2026-03-01T09:00:00Z`, with milliseconds or microseconds where it has them. A session's state has
/// half a dozen, which chrono's formatting would take a third of a microsecond each for.
struct Rfc3339 {
    text: [u8; Self::MAX_BYTES],
    bytes: usize,
}

impl Rfc3339 {
    const MAX_BYTES: usize = "2026-03-01T09:00:00.123456Z".len();

    fn of(EventTime(instant): EventTime) -> Self {
        let mut written = Self { text: [0; Self::MAX_BYTES], bytes: 0 };
        written.number(instant.year().unsigned_abs(), 4);
        for (before, number) in [
            (b'-', instant.month()),
            (b'-', instant.day()),
            (b'T', instant.hour()),
            (b':', instant.minute()),
            (b':', instant.second()),
        ] {
            written.byte(before);
            written.number(number, 2);
        }
        let micros = instant.timestamp_subsec_micros();
        if micros != 0 {
            written.byte(b'.');
            if micros % 1_000 == 0 { written.number(micros / 1_000, 3) } else { written.number(micros, 6) }
        }
        written.byte(b'Z');
        written
    }

    fn byte(&mut self, byte: u8) {
        self.text[self.bytes] = byte;
        self.bytes += 1;
    }

    fn number(&mut self, number: u32, digits: u32) {
        for digit in (0..digits).rev() {
            self.byte(b'0' + (number / 10_u32.pow(digit) % 10) as u8);
        }
    }

    fn as_str(&self) -> &str {
        #[expect(clippy::expect_used, reason = "digits and punctuation")]
        std::str::from_utf8(&self.text[..self.bytes]).expect("ASCII")
    }
}

impl fmt::Debug for EventTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// When a record was made or appended, as Kafka says: milliseconds since 1970, never negative.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RecordTimestamp(i64);

impl RecordTimestamp {
    /// None for a negative number, by which Kafka says "no timestamp".
    pub fn from_millis(millis: i64) -> Option<Self> {
        (millis >= 0).then_some(Self(millis))
    }

    pub fn millis(self) -> i64 {
        self.0
    }

    /// None where the number is so large that no calendar has it; a producer may write any.
    pub fn as_utc(self) -> Option<DateTime<Utc>> {
        DateTime::from_timestamp_millis(self.0)
    }

    /// Whether an event claims to be later than its record by more than `tolerance`.
    pub fn is_before(self, emitted_at: EventTime, tolerance: Duration) -> bool {
        let ahead = i128::from(emitted_at.micros_since_epoch()) - i128::from(self.0) * 1_000;
        ahead > micros_of(tolerance)
    }
}

/// Reads a time from the left, byte by byte.
struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn next(&mut self) -> Option<u8> {
        let (&first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(first)
    }

    fn digits(&mut self, count: usize) -> Result<u32, InvalidTime> {
        (0..count).try_fold(0, |number, _| match self.next() {
            Some(digit @ b'0'..=b'9') => Ok(number * 10 + u32::from(digit - b'0')),
            _ => Err(InvalidTime),
        })
    }

    fn one_of(&mut self, allowed: &[u8]) -> Result<u8, InvalidTime> {
        self.next().filter(|byte| allowed.contains(byte)).ok_or(InvalidTime)
    }

    fn date(&mut self) -> Result<NaiveDate, InvalidTime> {
        let year = self.digits(4)?;
        self.one_of(b"-")?;
        let month = self.digits(2)?;
        self.one_of(b"-")?;
        let day = self.digits(2)?;
        let year = i32::try_from(year).map_err(|_| InvalidTime)?;
        NaiveDate::from_ymd_opt(year, month, day).filter(|_| year >= 1).ok_or(InvalidTime)
    }

    /// Microseconds of an optional `.` and 1 to 9 digits.
    fn fraction(&mut self) -> Result<u32, InvalidTime> {
        if self.0.first() != Some(&b'.') {
            return Ok(0);
        }
        self.next();
        let count = self.0.iter().take_while(|byte| byte.is_ascii_digit()).count();
        if !(1..=9).contains(&count) {
            return Err(InvalidTime);
        }
        let kept = count.min(6);
        let micros = self.digits(kept)? * 10u32.pow(6 - u32::try_from(kept).map_err(|_| InvalidTime)?);
        self.digits(count - kept)?;
        Ok(micros)
    }

    /// Minutes east of UTC, of an optional `Z`, `z` or `±hh:mm` that ends the text.
    fn offset(&mut self) -> Result<i64, InvalidTime> {
        let minutes = match self.next() {
            None | Some(b'Z' | b'z') => 0,
            Some(sign @ (b'+' | b'-')) => {
                let hours = self.digits(2)?;
                self.one_of(b":")?;
                let minutes = self.digits(2)?;
                if hours > 23 || minutes > 59 {
                    return Err(InvalidTime);
                }
                let east = i64::from(hours * 60 + minutes);
                if sign == b'-' { -east } else { east }
            }
            Some(_) => return Err(InvalidTime),
        };
        if self.0.is_empty() { Ok(minutes) } else { Err(InvalidTime) }
    }
}

#[cfg(test)]
mod tests {
    use chrono::SecondsFormat;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// States that are stored have times as chrono wrote them.
        #[test]
        fn a_time_is_written_as_chrono_writes_it(
            seconds in -62_135_596_800_i64..253_402_300_800,
            micros in prop_oneof![Just(0), (0_i64..1_000).prop_map(|millis| millis * 1_000), 0_i64..1_000_000],
        ) {
            let time = EventTime::from_utc(DateTime::from_timestamp_micros(seconds * 1_000_000 + micros).unwrap()).unwrap();
            prop_assert_eq!(time.to_string(), time.as_utc().to_rfc3339_opts(SecondsFormat::AutoSi, true));
            prop_assert_eq!(serde_json::to_string(&time).unwrap(), serde_json::to_string(&time.as_utc()).unwrap());
        }
    }

    fn micros(text: &str) -> i64 {
        EventTime::parse(text).unwrap().micros_since_epoch()
    }

    #[test]
    fn digits_after_the_sixth_are_cut_off() {
        assert_eq!(micros("1970-01-01T00:00:00.123456789Z"), 123_456);
        assert_eq!(micros("1970-01-01 00:00:00.1"), 100_000);
        assert_eq!(micros("1969-12-31T23:59:59.9999999Z"), -1);
    }

    #[test]
    fn an_offset_moves_the_instant() {
        assert_eq!(micros("1970-01-01T01:30:00+01:30"), 0);
        assert_eq!(micros("1969-12-31t23:00:00-01:00"), 0);
    }

    #[test]
    fn other_forms_are_refused() {
        for text in [
            "",
            "1970-01-01",
            "1970-01-01T00:00",
            "1970-01-01T00:00:60Z",
            "1970-01-01T24:00:00Z",
            "1970-02-29T00:00:00Z",
            "1970-01-01T00:00:00.Z",
            "1970-01-01T00:00:00.1234567890Z",
            "1970-01-01T00:00:00ZZ",
            "1970-01-01T00:00:00+24:00",
            "1970-01-01T00:00:00+1:00",
            "1970-01-01T00:00:00+0100",
            "0000-01-01T00:00:00Z",
            "1970-01-01T00:00:00 Z",
            "１970-01-01T00:00:00Z",
        ] {
            assert_eq!(EventTime::parse(text), Err(InvalidTime), "{text}");
        }
    }

    #[test]
    fn an_instant_that_utc_puts_outside_the_years_0001_to_9999_is_refused() {
        assert!(EventTime::parse("0001-01-01T00:00:00Z").is_ok());
        assert!(EventTime::parse("0001-01-01T00:00:00+00:01").is_err());
        assert!(EventTime::parse("9999-12-31T23:59:59.999999Z").is_ok());
        assert!(EventTime::parse("9999-12-31T23:59:59-00:01").is_err());
    }

    #[test]
    fn an_event_exactly_the_tolerance_ahead_of_its_record_passes() {
        let record = RecordTimestamp::from_millis(0).unwrap();
        let tolerance = Duration::from_secs(30);
        assert!(!record.is_before(EventTime::parse("1970-01-01T00:00:30Z").unwrap(), tolerance));
        assert!(record.is_before(EventTime::parse("1970-01-01T00:00:30.000001Z").unwrap(), tolerance));
        let far = RecordTimestamp::from_millis(i64::MAX).unwrap();
        assert!(!far.is_before(EventTime::parse("9999-12-31T23:59:59Z").unwrap(), tolerance));
        assert_eq!(far.as_utc(), None);
    }
}
