//! Values on the command line that are numbers. What is none is answered by what would be.

use std::{
    fmt::Display,
    ops::{Bound, RangeBounds},
    str::FromStr,
};

/// Takes whole numbers of a range.
pub(super) fn whole<T>(range: impl RangeBounds<T> + Clone) -> impl Fn(&str) -> Result<T, String> + Clone
where
    T: FromStr + PartialOrd + Display,
{
    move |text| {
        let number: Option<T> = text.parse().ok().filter(|number| range.contains(number));
        number.ok_or_else(|| match (range.start_bound(), range.end_bound()) {
            (Bound::Included(least), Bound::Included(most)) => {
                format!("allowed: a whole number from {least} to {most}")
            }
            (Bound::Included(least), _) => format!("allowed: a whole number of at least {least}"),
            _ => "allowed: a whole number".to_owned(),
        })
    }
}

/// Takes numbers from 0 to 1.
pub(super) fn share(text: &str) -> Result<f64, String> {
    let share: Option<f64> = text.parse().ok().filter(|share| (0.0..=1.0).contains(share));
    share.ok_or_else(|| "allowed: a number from 0 to 1, like 0.05".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_such_number_is_answered_by_what_would_be() {
        let page = whole(1..=100);
        assert_eq!(page("100"), Ok(100_u32));
        for text in ["0", "101", "x", "", "1.5", "99999999999999999999"] {
            assert_eq!(page(text), Err("allowed: a whole number from 1 to 100".to_owned()), "{text}");
        }
        assert_eq!(whole(0_i32..)("-1"), Err("allowed: a whole number of at least 0".to_owned()));
        assert_eq!(share("0.25"), Ok(0.25));
        for text in ["-0.1", "1.1", "NaN", "half"] {
            assert!(share(text).is_err(), "{text}");
        }
    }
}
