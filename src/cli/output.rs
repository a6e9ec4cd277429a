//! Lines on standard output, by `outln!` and `out!`. Unlike the standard library's they don't panic: a reader that leaves,
//! as `head` does, ends the program in good order, and a full disk ends it with exit code 1.

use std::{fmt, process::exit};

use super::terminal::{Reader, print};

macro_rules! out {
    ($($text:tt)*) => { $crate::cli::output::write(format_args!($($text)*)) };
}

macro_rules! outln {
    () => { $crate::cli::output::write(format_args!("\n")) };
    ($($text:tt)*) => { $crate::cli::output::write(format_args!("{}\n", format_args!($($text)*))) };
}

/// What a command does is done before it says so, and what it only looks at is not wanted any more: to end here is safe.
pub(super) fn write(text: fmt::Arguments<'_>) {
    match print(&text.to_string()) {
        Ok(Reader::Reads) => {}
        Ok(Reader::Left) => exit(0),
        Err(error) => {
            eprintln!("sessionfold: standard output can't be written to: {error}");
            exit(1)
        }
    }
}
