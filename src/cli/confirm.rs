//! A last question before something is changed.

use std::io::{IsTerminal, Write, stderr, stdin};

use anyhow::anyhow;

use super::Failure;

/// Goes on where `--yes` was given or somebody says so.
///
/// # Errors
/// Where neither is the case.
pub(super) fn ask(yes: bool) -> Result<(), Failure> {
    if yes || confirm()? {
        return Ok(());
    }
    Err(Failure::Usage(anyhow!("nothing was changed; confirm with --yes")))
}

/// Asks on a terminal; elsewhere nobody could answer.
fn confirm() -> std::io::Result<bool> {
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
