//! Times, durations and strangers' texts, as people read them.

use crate::{cli::terminal::visible, event::EventTime};

/// To the second, in UTC: `2026-03-01 09:00:00`.
pub(super) fn instant(time: EventTime) -> String {
    time.as_utc().format("%Y-%m-%d %H:%M:%S").to_string()
}

/// The two largest units that there are: `350ms`, `4.2s`, `3m 5s`, `1h 2m`, `3d 4h`.
pub(super) fn duration(seconds: f64) -> String {
    if seconds < 0.0 {
        return format!("-{}", duration(-seconds));
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "not negative, and saturates")]
    let (millis, whole) = ((seconds * 1e3).round() as u64, seconds.round() as u64);
    match whole {
        _ if millis < 1_000 => format!("{millis}ms"),
        _ if millis < 59_950 => format!("{seconds:.1}s"),
        0..3_600 => format!("{}m {}s", whole / 60, whole % 60),
        3_600..86_400 => format!("{}h {}m", whole / 3_600, whole % 3_600 / 60),
        _ => format!("{}d {}h", whole / 86_400, whole % 86_400 / 3_600),
    }
}

/// A stranger's text in quotes.
pub(super) fn quoted(text: &str) -> String {
    format!("\"{}\"", visible(text))
}

/// `1 tool`, `2 tools`.
pub(super) fn counted(count: i64, what: &str) -> String {
    let number = crate::cli::progress::grouped(count.unsigned_abs());
    if count == 1 { format!("{number} {what}") } else { format!("{number} {what}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_their_two_largest_units() {
        let seconds =
            [0.0, 0.0004, 0.35, 0.9996, 4.21, 59.94, 59.95, 185.0, 3_599.6, 3_725.0, 86_399.9, 100_000.0, 1e12, -1.5];
        let texts = seconds.map(duration);
        let expected = [
            "0ms",
            "0ms",
            "350ms",
            "1.0s",
            "4.2s",
            "59.9s",
            "1m 0s",
            "3m 5s",
            "1h 0m",
            "1h 2m",
            "1d 0h",
            "1d 3h",
            "11574074d 1h",
            "-1.5s",
        ];
        assert_eq!(texts, expected);
    }

    #[test]
    fn one_is_counted_otherwise_than_two() {
        assert_eq!([1, 2, 1_234].map(|count| counted(count, "tool")), ["1 tool", "2 tools", "1,234 tools"]);
    }
}
