//! Why an operator decided something: kept for those who look later.

use crate::event::RedactedText;

/// As long as an event's `action_description`, which it may become.
const MOST: usize = 160;

/// Takes 1 to 160 characters. Secrets are redacted at once, so that they reach no topic and no table.
pub(super) fn reason(text: &str) -> Result<RedactedText, String> {
    let redacted = RedactedText::of(text);
    let lengths = [text, redacted.as_str()].map(|text| text.chars().count());
    if text.trim().is_empty() || lengths.into_iter().any(|length| length > MOST) {
        return Err(format!("allowed: 1 to {MOST} characters, also after secrets in it were redacted"));
    }
    Ok(redacted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_has_1_to_160_characters_and_no_secret() {
        assert_eq!(reason("é").unwrap().as_str(), "é");
        assert!(reason(&"é".repeat(160)).is_ok());
        assert!(reason(&"é".repeat(161)).is_err());
        assert!(reason(" ").is_err());
        assert_eq!(reason("password=hunter2hunter2").unwrap().as_str(), "password=***REDACTED***");
        assert!(reason(&format!("{} password=hunter22", "x".repeat(140))).is_err(), "longer once it is redacted");
    }
}
