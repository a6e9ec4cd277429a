//! Why a verification couldn't be carried out.

use crate::{store::StoreError, stream::StreamError};

/// Neither equal nor different: it is not known.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Stream(#[from] StreamError),
}
