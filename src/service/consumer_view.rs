//! A view on the consumer that is at work now, whichever of those that were begun it is.

use std::sync::{Mutex, PoisonError};

use super::Monitor;

/// A view on the consumer that is at work now. Counters go on where the one before stopped.
#[derive(Debug, Default)]
pub struct ConsumerView(Mutex<Monitor>);

impl ConsumerView {
    /// On this one, until another is begun.
    pub fn of(monitor: Monitor) -> Self {
        Self(Mutex::new(monitor))
    }

    /// Before the first consumer has begun, one that has done nothing.
    pub fn monitor(&self) -> Monitor {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn turn_to(&self, monitor: Monitor) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = monitor;
    }
}
