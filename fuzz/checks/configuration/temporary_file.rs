//! A file that is gone when its owner is.

use std::path::{Path, PathBuf};

pub(super) struct TemporaryFile(PathBuf);

impl TemporaryFile {
    /// One of that name at a time in this process.
    pub(super) fn holding(name: &str, text: &str) -> Self {
        let path = std::env::temp_dir().join(format!("sessionfold-fuzz-{}-{name}", std::process::id()));
        std::fs::write(&path, text).expect("the temporary folder can be written to");
        Self(path)
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TemporaryFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}
