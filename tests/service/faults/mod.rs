//! Faults, each made on purpose. After every one the tables equal the fold of what was sent, and the counts add up.
//!
//! Those that take minutes are ignored by default; `make faults` runs those. `docs/guarantees.md` has the table.

mod broker;
mod commits;
mod hostile;
mod load;
mod postgres;
mod processes;
pub mod security;
