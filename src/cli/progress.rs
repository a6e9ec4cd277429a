//! How far a run is: a line that renews itself on a terminal, plain lines elsewhere.

use std::{
    io::{IsTerminal, Write, stderr, stdout},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use crate::service::Monitor;

use super::terminal::{cut, width_of};

/// Shows a running service's progress until it is dropped.
pub(super) struct ProgressDisplay(tokio::task::JoinHandle<()>);

impl ProgressDisplay {
    pub(super) fn start(monitor: Monitor) -> Self {
        Self(tokio::spawn(show(monitor)))
    }
}

impl Drop for ProgressDisplay {
    fn drop(&mut self) {
        self.0.abort();
        if stdout().is_terminal() {
            outln!();
        }
    }
}

async fn show(monitor: Monitor) {
    let terminal = stdout().is_terminal();
    let mut ticks = tokio::time::interval(if terminal { Duration::from_millis(250) } else { Duration::from_secs(1) });
    let (mut before, mut at) = (monitor.counts.totals().records(), Instant::now());
    ticks.tick().await;
    loop {
        ticks.tick().await;
        let (committed, now) = (monitor.counts.totals().records(), Instant::now());
        let line = format!(
            "{:>9} records/s   lag {:>9}   committed {:>10}",
            grouped(per_second(committed - before, now - at)),
            monitor.lag().map_or_else(|| "?".to_owned(), grouped),
            grouped(committed),
        );
        (before, at) = (committed, now);
        // Where nobody reads any more, the run goes on all the same.
        let mut out = stdout();
        let _ = if terminal { write!(out, "\r\x1b[2K{line}") } else { writeln!(out, "{line}") };
        let _ = out.flush();
    }
}

/// A line on standard error for a command that takes its time, so that its output stays clean.
pub(super) struct ProgressLine {
    terminal: bool,
    said_at: Instant,
}

impl ProgressLine {
    pub(super) fn new() -> Self {
        Self { terminal: stderr().is_terminal(), said_at: Instant::now() }
    }

    /// Says how far it is, if it is time to.
    pub(super) fn say(&mut self, line: impl FnOnce() -> String) {
        let interval = if self.terminal { Duration::from_millis(250) } else { Duration::from_secs(10) };
        if self.said_at.elapsed() >= interval {
            self.said_at = Instant::now();
            // Where nobody reads any more, the command goes on all the same.
            let _ = if self.terminal {
                // A line that the terminal broke in two could not be taken back.
                write!(stderr(), "\r\x1b[2K{}", cut(&line(), width_of(stderr())))
            } else {
                writeln!(stderr(), "{}", line())
            };
        }
    }
}

impl Drop for ProgressLine {
    fn drop(&mut self) {
        if self.terminal {
            let _ = write!(stderr(), "\r\x1b[2K");
        }
    }
}

/// How far a reading of so many offsets is, on standard error, until this is dropped.
pub(super) struct ProgressBar {
    /// Taken at the end, so that nothing is written behind it.
    line: Arc<Mutex<Option<ProgressLine>>>,
    task: tokio::task::JoinHandle<()>,
}

impl ProgressBar {
    pub(super) fn start(monitor: Monitor, total: u64) -> Self {
        let line = Arc::new(Mutex::new(Some(ProgressLine::new())));
        let (shown, begun) = (Arc::clone(&line), Instant::now());
        let task = tokio::spawn(async move {
            let mut ticks = tokio::time::interval(Duration::from_millis(250));
            loop {
                ticks.tick().await;
                let text = || bar(monitor.counts.totals().records(), total, begun.elapsed());
                let mut line = shown.lock().unwrap_or_else(PoisonError::into_inner);
                let Some(line) = &mut *line else { return };
                line.say(text);
            }
        });
        Self { line, task }
    }
}

impl Drop for ProgressBar {
    fn drop(&mut self) {
        self.task.abort();
        self.line.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}

/// How far something is whose end is known: a bar, the rate, and the time that is left at that rate.
fn bar(done: u64, total: u64, elapsed: Duration) -> String {
    const WIDTH: u64 = 20;
    let share = |of: u64| of.saturating_mul(done.min(total)).checked_div(total).unwrap_or(of);
    let filled = usize::try_from(share(WIDTH)).unwrap_or(0);
    let rate = per_second(done, elapsed);
    let left = total.saturating_sub(done).checked_div(rate).map_or_else(|| "?".to_owned(), clock);
    let bar = format!("{}{}", "#".repeat(filled), "-".repeat(usize::try_from(WIDTH).unwrap_or(0) - filled));
    format!("[{bar}] {:>3}%  {} of {}  {}/s  {left} left", share(100), grouped(done), grouped(total), grouped(rate))
}

/// Seconds as `1:02:03` or `2:03`.
fn clock(seconds: u64) -> String {
    let (hours, minutes, seconds) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    if hours > 0 { format!("{hours}:{minutes:02}:{seconds:02}") } else { format!("{minutes}:{seconds:02}") }
}

pub(super) fn per_second(count: u64, time: Duration) -> u64 {
    let micros = time.as_micros().max(1);
    u64::try_from(u128::from(count) * 1_000_000 / micros).unwrap_or(u64::MAX)
}

/// `1234567` as `1,234,567`.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_grouped_by_three_from_the_right() {
        assert_eq!(
            [0, 12, 123, 1_234, 123_456, 1_234_567].map(grouped),
            ["0", "12", "123", "1,234", "123,456", "1,234,567"]
        );
    }

    #[test]
    fn a_bar_tells_the_share_the_rate_and_the_time_left() {
        let line = bar(250_000, 1_000_000, Duration::from_secs(5));
        assert_eq!(line, "[#####---------------]  25%  250,000 of 1,000,000  50,000/s  0:15 left");
        assert_eq!(clock(3_723), "1:02:03");
        assert!(bar(0, 0, Duration::ZERO).contains("100%"));
    }

    #[test]
    fn a_rate_is_a_count_over_its_time() {
        assert_eq!(per_second(500, Duration::from_millis(250)), 2_000);
    }
}
