//! Why somebody else doesn't answer, or not well.

/// Why somebody else doesn't answer, or not well. It quotes nothing of what was answered, since that may echo what was
/// asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct Fault(String);

impl Fault {
    pub(super) fn new(what: impl Into<String>) -> Self {
        Self(what.into())
    }
}
