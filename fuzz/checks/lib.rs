//! What fuzzing checks, one module a target. Each turns any bytes into an input of the program, and panics where the
//! program breaks a promise.
//!
//! The targets of this package link these modules, and `tests/corpus.rs` of the main crate includes them.

pub mod configuration;
pub mod dead_letter;
pub mod decode;
pub mod fold;
mod input;
mod storable;
