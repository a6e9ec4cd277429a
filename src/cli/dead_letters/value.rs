//! A record's bytes as lines for a person, without secrets unless they are asked for.

use serde::de::IgnoredAny;

use crate::{cli::terminal::visible, event::redact};

use super::json;

/// What stands in place of a value whose name says that it is a secret.
pub(super) const REDACTED: &str = "***REDACTED***";

/// Whether secrets are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    /// Secrets of known forms are replaced, and values whose names say that they are secret.
    Redacted,
    /// As it was sent.
    Raw,
}

/// Lines without anything that a terminal would obey.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Text {
    pub(super) lines: Vec<String>,
    /// The lines of the member at fault.
    pub(super) faults: Vec<usize>,
}

impl Text {
    /// `fault` is the path of the member at fault, as a refusal gives it.
    pub(super) fn of(value: &[u8], fault: Option<&str>, style: Style) -> Self {
        match std::str::from_utf8(value) {
            Ok(text) if serde_json::from_str::<IgnoredAny>(text).is_ok() => json::lay_out(text, fault, style),
            Ok(text) => Self::of_text(text, style),
            Err(_) if style == Style::Raw => Self { lines: hex(value), faults: Vec::new() },
            // A secret that is broken up by other bytes wouldn't be known for one.
            Err(_) if !is_nearly_text(value) => {
                let line = "not text; --raw shows it in hexadecimal".to_owned();
                Self { lines: vec![line], faults: Vec::new() }
            }
            Err(_) => Self::of_text(&String::from_utf8_lossy(value), style),
        }
    }

    fn of_text(text: &str, style: Style) -> Self {
        let shown = shown(text, style);
        Self { lines: shown.lines().map(visible).collect(), faults: Vec::new() }
    }

    pub(super) fn is_near_fault(&self, line: usize, lines_around: usize) -> bool {
        self.faults.iter().any(|fault| fault.abs_diff(line) <= lines_around)
    }
}

/// A text by itself.
pub(super) fn shown(text: &str, style: Style) -> String {
    match style {
        Style::Redacted => redact(text).into_owned(),
        Style::Raw => text.to_owned(),
    }
}

/// Whether a value of this name is a secret whatever it looks like.
pub(super) fn is_secret(name: &str) -> bool {
    let assignment = format!("{name}=12345678");
    redact(&assignment) != assignment
}

/// A key, or a header's name: as text where it is one.
pub(super) fn of_bytes(bytes: &[u8], style: Style) -> String {
    match (std::str::from_utf8(bytes), style) {
        (Ok(text), style) => shown(text, style),
        (Err(_), Style::Redacted) => shown(&String::from_utf8_lossy(bytes), style),
        (Err(_), Style::Raw) => bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
    }
}

/// The value of a header.
pub(super) fn of_named(name: &str, value: &[u8], style: Style) -> String {
    if style == Style::Redacted && is_secret(name) { REDACTED.to_owned() } else { of_bytes(value, style) }
}

/// A text with some bytes that are none.
fn is_nearly_text(bytes: &[u8]) -> bool {
    let strange = bytes.utf8_chunks().map(|chunk| chunk.invalid().len()).sum::<usize>();
    let controls = bytes.iter().filter(|byte| byte.is_ascii_control() && !byte.is_ascii_whitespace()).count();
    (strange + controls) * 10 < bytes.len()
}

/// Lines like `00000010  68 65 6c 6c 6f  |hello|`.
fn hex(bytes: &[u8]) -> Vec<String> {
    const PER_LINE: usize = 16;
    let line = |(index, bytes): (usize, &[u8])| {
        let digits: String = bytes.iter().map(|byte| format!("{byte:02x} ")).collect();
        let letters: String = bytes
            .iter()
            .map(|byte| if byte.is_ascii_graphic() || *byte == b' ' { char::from(*byte) } else { '.' })
            .collect();
        format!("{:08x}  {digits:<width$} |{letters}|", index * PER_LINE, width = 3 * PER_LINE)
    };
    bytes.chunks(PER_LINE).enumerate().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(value: &[u8], style: Style) -> Vec<String> {
        Text::of(value, None, style).lines
    }

    #[test]
    fn text_that_is_not_json_is_redacted_and_escaped() {
        let value = b"password=hunter2hunter2\n\x1b[31mend";
        assert_eq!(lines(value, Style::Redacted), ["password=***REDACTED***", "\\u{1b}[31mend"]);
        assert_eq!(lines(value, Style::Raw), ["password=hunter2hunter2", "\\u{1b}[31mend"]);
    }

    #[test]
    fn bytes_are_shown_in_hexadecimal_only_where_secrets_may_be() {
        assert_eq!(lines(b"\xff\x00\x01abc\x02\x03", Style::Redacted), ["not text; --raw shows it in hexadecimal"]);
        let raw = lines(b"\xffabcdefghijklmno\np", Style::Raw);
        assert_eq!(
            raw,
            [
                "00000000  ff 61 62 63 64 65 66 67 68 69 6a 6b 6c 6d 6e 6f  |.abcdefghijklmno|",
                "00000010  0a 70                                            |.p|"
            ]
        );
    }

    #[test]
    fn a_text_with_one_strange_byte_stays_readable_and_redacted() {
        let value = b"{\"note\": \"caf\xe9 token=abcdefgh1234\"}";
        assert_eq!(lines(value, Style::Redacted), ["{\"note\": \"caf\u{fffd} token=***REDACTED***}"]);
    }

    #[test]
    fn a_header_whose_name_says_so_is_a_secret() {
        assert_eq!(of_named("x-api-token", b"1", Style::Redacted), REDACTED);
        assert_eq!(of_named("x-api-token", b"1", Style::Raw), "1");
        assert_eq!(of_named("traceparent", b"1", Style::Redacted), "1");
    }
}
