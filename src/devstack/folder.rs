//! The temporary folder that holds all files of a stack.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use super::DevStackError;

/// How often, and how far apart, removal is tried.
const REMOVAL_ATTEMPTS: usize = 20;
const REMOVAL_PAUSE: Duration = Duration::from_millis(50);

/// A temporary folder that is removed with its last owner, unless [`Folder::keep`] was called.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    kept: AtomicBool,
}

impl Folder {
    /// Makes a folder of an unguessable name. Others may pass through it but not list it: the server user must reach
    /// the part that belongs to it.
    pub(super) fn create(parent: Option<&Path>) -> Result<Arc<Self>, DevStackError> {
        let parent = parent.map_or_else(std::env::temp_dir, Path::to_path_buf);
        // Absolute, since it is given to servers that run in another current directory.
        let parent = fs::canonicalize(&parent).map_err(|source| DevStackError::Folder { path: parent, source })?;
        let path = parent.join(format!("sessionfold-{}", random_text(6)?));
        DirBuilder::new()
            .mode(0o711)
            .create(&path)
            .map_err(|source| DevStackError::Folder { path: path.clone(), source })?;
        Ok(Arc::new(Self { path, kept: AtomicBool::new(false) }))
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Lets the folder outlive its owners.
    pub(super) fn keep(&self) {
        self.kept.store(true, Ordering::Relaxed);
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if self.kept.load(Ordering::Relaxed) {
            return;
        }
        if let Err(error) = remove(&self.path) {
            tracing::warn!(folder = %self.path.display(), %error, "the development stack's folder is left behind");
        }
    }
}

/// Removes a folder with all in it. It tries for a second: the last processes of a server that was killed may still
/// be writing.
pub(super) fn remove(path: &Path) -> std::io::Result<()> {
    let mut attempt = 1;
    loop {
        match fs::remove_dir_all(path) {
            Err(error) if error.kind() == ErrorKind::NotFound && !path.exists() => return Ok(()),
            Err(_) if attempt < REMOVAL_ATTEMPTS => {
                attempt += 1;
                thread::sleep(REMOVAL_PAUSE);
            }
            outcome => return outcome,
        }
    }
}

/// Creates a file that only its owner may read, emptying one that is there.
pub(super) fn create_private_file(path: &Path) -> Result<File, DevStackError> {
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
        .map_err(|source| DevStackError::Folder { path: path.to_path_buf(), source })
}

/// Random bytes of the operating system as hexadecimal digits: fit for a password, and safe in URLs and shells.
pub(super) fn random_text(bytes: usize) -> Result<String, DevStackError> {
    let mut random = vec![0_u8; bytes];
    File::open("/dev/urandom")
        .and_then(|mut source| source.read_exact(&mut random))
        .map_err(DevStackError::NoRandomBytes)?;
    Ok(random.iter().map(|byte| format!("{byte:02x}")).collect())
}
