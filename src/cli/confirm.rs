//! A last question before something is changed.

use std::io::{IsTerminal, Write, stderr, stdin};

/// Asks on a terminal; elsewhere nobody could answer.
pub(super) fn confirm() -> std::io::Result<bool> {
    if !stdin().is_terminal() {
        return Ok(false);
    }
    // Standard output may be a file.
    eprint!("go on? [y/N] ");
    stderr().flush()?;
    let mut answer = String::new();
    stdin().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}
