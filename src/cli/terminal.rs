//! What goes to a terminal: as wide as it is, and nothing in it that it would obey.

/// Where the terminal doesn't say how wide it is.
const WIDTH: usize = 120;

/// The columns of the terminal.
pub(super) fn width() -> usize {
    std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok()).filter(|width| *width > 0).unwrap_or(WIDTH)
}

/// The text, or what fits of it and `…`.
pub(super) fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    text.chars().take(width.saturating_sub(1)).chain(['…']).collect()
}

/// The text with its control characters, and those that turn or hide what stands beside them, written as escapes.
pub(super) fn printable(text: &str) -> String {
    let mut printable = String::with_capacity(text.len());
    for character in text.chars() {
        if is_obeyed(character) {
            printable.extend(character.escape_unicode());
        } else {
            printable.push(character);
        }
    }
    printable
}

/// Whether a terminal doesn't show the character, but does as it says.
fn is_obeyed(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{ad}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{feff}'
                | '\u{fff9}'..='\u{fffb}'
                | '\u{e0000}'..='\u{e007f}'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_obey_is_escaped_and_letters_of_any_alphabet_are_not() {
        assert_eq!(printable("a\u{1b}[2Jb"), "a\\u{1b}[2Jb");
        assert_eq!(printable("user\u{202e}gpj"), "user\\u{202e}gpj");
        assert_eq!(printable("\u{9b}31m\n"), "\\u{9b}31m\\u{a}");
        assert_eq!(printable("naïve «日本» \"\\\""), "naïve «日本» \"\\\"");
    }

    #[test]
    fn a_text_is_cut_by_its_characters() {
        assert_eq!([cut("日本語", 3), cut("日本語", 2)], ["日本語", "日…"]);
    }
}
