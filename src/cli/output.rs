//! Lines on standard output, by `outln!` and `out!`. Unlike the standard library's they don't panic, and they end nothing: a
//! command comes to its own end, with its own exit code, also when nobody reads what it says.

use std::{
    fmt,
    sync::{Mutex, MutexGuard, PoisonError},
};

use super::terminal::{Reader, print};

macro_rules! out {
    ($($text:tt)*) => { $crate::cli::output::write(format_args!($($text)*)) };
}

macro_rules! outln {
    () => { $crate::cli::output::write(format_args!("\n")) };
    ($($text:tt)*) => { $crate::cli::output::write(format_args!("{}\n", format_args!($($text)*))) };
}

/// Whether more can be said.
enum Output {
    Open,
    /// The reader has left, as `head` does, which is no failure.
    Left,
    Failed(String),
}

static OUTPUT: Mutex<Output> = Mutex::new(Output::Open);

fn output() -> MutexGuard<'static, Output> {
    OUTPUT.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(super) fn write(text: fmt::Arguments<'_>) {
    let mut output = output();
    if !matches!(*output, Output::Open) {
        return;
    }
    match print(&text.to_string()) {
        Ok(Reader::Reads) => {}
        Ok(Reader::Left) => *output = Output::Left,
        Err(error) => *output = Output::Failed(error.to_string()),
    }
}

/// Why not everything could be said.
pub(super) fn failure() -> Option<String> {
    match &*output() {
        Output::Failed(error) => Some(error.clone()),
        Output::Open | Output::Left => None,
    }
}
