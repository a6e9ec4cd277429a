//! Durations as people write them: `"100ms"`, `"60s"`, `"1h30m"`.

use std::{ops::RangeInclusive, time::Duration};

use super::error::{Refusal, quoted};

/// Ten years. A limit for those settings that have none of their own, so that adding one to a date can't overflow.
pub(super) const LONGEST: Duration = Duration::from_secs(87_600 * 3_600);

/// The units, largest first, in milliseconds.
const UNITS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// Reads a sum of numbers with units, larger units first.
///
/// # Errors
/// If the text is of another form, or a number without a unit.
pub fn parse(text: &str) -> Result<Duration, Refusal> {
    if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        return Err(without_unit(text));
    }
    let mut total: u64 = 0;
    let mut smallest = u64::MAX;
    let mut rest = text;
    loop {
        let (number, tail) = split_where(rest, |c| !c.is_ascii_digit());
        let (unit, tail) = split_where(tail, |c| c.is_ascii_digit());
        let known = UNITS.iter().find(|(name, _)| *name == unit);
        let (Ok(number), Some((_, size))) = (number.parse::<u64>(), known) else {
            return Err(not_a_duration(text));
        };
        // "30m1h" or "5s5s" is more likely a slip than a wish.
        if *size >= smallest {
            return Err(not_a_duration(text));
        }
        smallest = *size;
        total =
            number.checked_mul(*size).and_then(|part| total.checked_add(part)).ok_or_else(|| not_a_duration(text))?;
        rest = tail;
        if rest.is_empty() {
            return Ok(Duration::from_millis(total));
        }
    }
}

/// Reads a duration within limits.
pub(super) fn within(text: &str, limits: &RangeInclusive<Duration>) -> Result<Duration, Refusal> {
    let duration = parse(text)?;
    if limits.contains(&duration) {
        return Ok(duration);
    }
    let (least, most) = (shown(*limits.start()), shown(*limits.end()));
    Err(Refusal::new(format!("{} is out of range", quoted(text)), format!("allowed: {least} to {most}")))
}

/// The refusal of a bare number, which says what to write instead.
pub(super) fn without_unit(number: &str) -> Refusal {
    Refusal::new(
        format!("{number} has no unit"),
        format!("write \"{number}s\" for seconds, or \"{number}ms\" for milliseconds"),
    )
}

/// A limit, in the largest unit that fits.
pub(super) fn shown(duration: Duration) -> String {
    let millis = duration.as_millis();
    match millis {
        0 => "0s".to_owned(),
        _ if !millis.is_multiple_of(1_000) => format!("{millis}ms"),
        _ if millis.is_multiple_of(3_600_000) => format!("{}h", millis / 3_600_000),
        _ => format!("{}s", millis / 1_000),
    }
}

fn split_where(text: &str, end: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at(text.find(end).unwrap_or(text.len()))
}

fn not_a_duration(text: &str) -> Refusal {
    Refusal::new(
        format!("{} is not a duration", quoted(text)),
        "allowed: whole numbers with the units d, h, m, s, ms, larger ones first, like \"60s\", \"100ms\" or \"1h30m\"",
    )
}
