//! A last question before something is changed.

use std::io::{IsTerminal, Write, stdin, stdout};

/// Asks on a terminal; elsewhere nobody could answer.
pub(super) fn confirm() -> std::io::Result<bool> {
    if !stdin().is_terminal() {
        return Ok(false);
    }
    print!("go on? [y/N] ");
    stdout().flush()?;
    let mut answer = String::new();
    stdin().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}
