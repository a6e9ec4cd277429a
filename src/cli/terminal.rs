//! What is printed for people: it fits the terminal, and no text that came from elsewhere steers it.

use std::{
    fmt::Write as _,
    io::{ErrorKind, IsTerminal, Write as _, stdout},
    os::fd::AsFd,
};

use unicode_width::UnicodeWidthChar;

/// Where a terminal doesn't say how wide it is.
const WIDTH: usize = 120;
/// Narrower ones wrap lines.
const LEAST_WIDTH: usize = 60;
/// A cell can hold a megabyte, and every row is as wide as the widest cell.
const MOST_WIDTH: usize = 4_096;

/// How standard output is to be written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Terminal {
    /// In columns; without a terminal as wide as may be, unless `COLUMNS` in the environment says so.
    pub(super) width: usize,
    pub(super) colours: bool,
}

impl Terminal {
    pub(super) fn of_stdout() -> Self {
        let is_terminal = stdout().is_terminal();
        let told = std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
        let asked = || if is_terminal { width_of(stdout()) } else { MOST_WIDTH };
        let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self { width: told.unwrap_or_else(asked).clamp(LEAST_WIDTH, MOST_WIDTH), colours: is_terminal && !no_color }
    }

    pub(super) fn paint(self, colour: Colour, text: &str) -> String {
        if self.colours { format!("\x1b[{}m{text}\x1b[0m", colour as u8) } else { text.to_owned() }
    }
}

/// In columns, of a terminal.
pub(super) fn width_of(terminal: impl AsFd) -> usize {
    terminal_size::terminal_size_of(terminal).map_or(WIDTH, |(width, _)| usize::from(width.0))
}

/// By the number that terminals know it by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Colour {
    Bold = 1,
    Dim = 2,
    Red = 31,
    Green = 32,
    Yellow = 33,
}

/// Whether somebody still reads what is printed.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reader {
    Reads,
    /// It closed the pipe, as `head` does, which is no failure.
    Left,
}

/// Writes to standard output.
///
/// # Errors
/// If that fails, but for a reader who left.
pub(super) fn print(text: &str) -> std::io::Result<Reader> {
    let mut out = stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => Ok(Reader::Reads),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(Reader::Left),
        Err(error) => Err(error),
    }
}

/// A text without anything that a terminal would obey or not show: control characters, marks of direction and the like
/// are written as escapes.
pub(super) fn visible(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' | '"' | '\'' => shown.push(c),
            // It only asks for the coloured form of the character before.
            '\u{fe0f}' => {}
            _ => shown.extend(c.escape_debug()),
        }
    }
    shown
}

/// How many columns a text without control characters takes.
pub(super) fn columns(text: &str) -> usize {
    text.chars().map(|c| c.width().unwrap_or(0)).sum()
}

/// The text, or its beginning and `…` where it takes more columns.
pub(super) fn cut(text: &str, width: usize) -> String {
    if columns(text) <= width {
        return text.to_owned();
    }
    let mut room = width.saturating_sub(1);
    let fits = |c: &char| {
        let fits = c.width().unwrap_or(0) <= room;
        room = room.saturating_sub(c.width().unwrap_or(0));
        fits
    };
    text.chars().take_while(fits).chain(['…']).collect()
}

/// The text, cut or filled up with spaces to this many columns.
pub(super) fn left(text: &str, width: usize) -> String {
    let text = cut(text, width);
    let spaces = spaces_beside(&text, width);
    text + &spaces
}

/// The same, with the spaces in front.
pub(super) fn right(text: &str, width: usize) -> String {
    let text = cut(text, width);
    spaces_beside(&text, width) + &text
}

/// Not by a width in a format, which panics beyond 65,535.
fn spaces_beside(text: &str, width: usize) -> String {
    " ".repeat(width.saturating_sub(columns(text)))
}

/// The text in lines of this many columns, broken at spaces; those behind the first are indented. A longer word, such as
/// an address, stays whole.
pub(super) fn wrapped(text: &str, indent: usize, width: usize) -> String {
    let mut lines = String::new();
    let mut taken = 0;
    for word in text.split(' ') {
        let wide = columns(word);
        if taken > 0 && taken + 1 + wide > width {
            let _ = write!(lines, "\n{:indent$}", "");
            taken = indent;
        } else if taken > 0 {
            lines.push(' ');
            taken += 1;
        }
        lines.push_str(word);
        taken += wide;
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_broken_at_spaces() {
        let text = "ok     part    one two three four";
        assert_eq!(wrapped(text, 15, 24), "ok     part    one two\n               three\n               four");
        assert_eq!(wrapped(text, 15, usize::MAX), text);
        assert_eq!(wrapped("at https://example.com/ or so", 2, 10), "at\n  https://example.com/\n  or so");
    }

    #[test]
    fn a_cell_may_be_wider_than_a_format_allows() {
        assert_eq!(left("x", 70_000).len(), 70_000);
        assert!(right("x", 70_000).ends_with(" x"));
    }

    #[test]
    fn nothing_that_steers_a_terminal_comes_through() {
        let hostile = "a\x1b[2Jb\x07\u{9b}31m\r\n\tc\u{202e}d\u{200b}\0\u{7f}";
        let shown = visible(hostile);
        assert_eq!(shown, r"a\u{1b}[2Jb\u{7}\u{9b}31m\r\n\tc\u{202e}d\u{200b}\0\u{7f}");
        assert!(shown.chars().all(|c| !c.is_control()));
    }

    #[test]
    fn what_people_write_stays_as_it_is() {
        let text = r#"it's "C:\work" – schön, 日本, 🙂"#;
        assert_eq!(visible(text), text);
        assert_eq!(visible("⚠\u{fe0f}!"), "⚠!");
    }

    #[test]
    fn texts_are_cut_by_columns_and_show_that_they_were() {
        assert_eq!(cut("abcdef", 6), "abcdef");
        assert_eq!(cut("abcdéfg", 6), "abcdé…");
        assert_eq!(cut("日本語日本語", 7), "日本語…");
        assert_eq!(cut("日本語日本語", 6), "日本…");
        assert_eq!(cut("abc", 0), "…");
    }

    #[test]
    fn columns_are_filled_up() {
        assert_eq!(left("日本", 6), "日本  ");
        assert_eq!(right("12", 4), "  12");
        assert_eq!(right("12345", 4), "123…");
    }

    #[test]
    fn colours_are_left_out_where_nobody_sees_them() {
        let terminal = Terminal { width: 80, colours: false };
        assert_eq!(terminal.paint(Colour::Red, "x"), "x");
        assert_eq!(Terminal { colours: true, ..terminal }.paint(Colour::Red, "x"), "\x1b[31mx\x1b[0m");
    }
}
