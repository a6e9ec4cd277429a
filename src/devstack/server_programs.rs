//! Where the Postgres server programs are, and the user they run as.

use std::fs;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::DevStackError;

/// Where Debian and its relatives keep a folder for each version.
const VERSIONS: &str = "/usr/lib/postgresql";

/// The server programs with the user to run them as.
#[derive(Debug)]
pub(super) struct ServerPrograms {
    folder: PathBuf,
    /// Set when we are root, which Postgres refuses to be.
    user: Option<User>,
}

#[derive(Debug, Clone, Copy)]
struct User {
    id: u32,
    group: u32,
}

impl ServerPrograms {
    /// Looks for the newest of [`VERSIONS`], then asks `pg_config`, then searches the PATH.
    pub(super) fn find() -> Result<Self, DevStackError> {
        let folder = newest_version(Path::new(VERSIONS))
            .or_else(named_by_configuration)
            .or_else(on_path)
            .ok_or(DevStackError::PostgresProgramsMissing)?;
        let user = if number(Command::new("id").arg("-u")) == Some(0) {
            Some(User::postgres().ok_or(DevStackError::PostgresUserMissing)?)
        } else {
            None
        };
        Ok(Self { folder, user })
    }

    /// A command of one of the programs. It runs in the given folder, since the current directory may be closed to
    /// the user it runs as.
    pub(super) fn command(&self, program: &str, current_folder: &Path) -> Command {
        let mut command = Command::new(self.folder.join(program));
        command.current_dir(current_folder);
        if let Some(user) = self.user {
            command.uid(user.id).gid(user.group);
        }
        command
    }

    /// Makes the server's user the owner.
    pub(super) fn hand_over(&self, path: &Path) -> Result<(), DevStackError> {
        let Some(user) = self.user else {
            return Ok(());
        };
        chown(path, Some(user.id), Some(user.group))
            .map_err(|source| DevStackError::Folder { path: path.to_path_buf(), source })
    }
}

impl User {
    fn postgres() -> Option<Self> {
        Some(Self {
            id: number(Command::new("id").args(["-u", "postgres"]))?,
            group: number(Command::new("id").args(["-g", "postgres"]))?,
        })
    }
}

fn newest_version(versions: &Path) -> Option<PathBuf> {
    fs::read_dir(versions)
        .ok()?
        .flatten()
        .filter_map(|entry| {
            let version: u32 = entry.file_name().to_str()?.parse().ok()?;
            let folder = entry.path().join("bin");
            has_server(&folder).then_some((version, folder))
        })
        .max()
        .map(|(_, folder)| folder)
}

fn named_by_configuration() -> Option<PathBuf> {
    let folder = PathBuf::from(output(Command::new("pg_config").arg("--bindir"))?);
    has_server(&folder).then_some(folder)
}

fn on_path() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).find(|folder| has_server(folder))
}

fn has_server(folder: &Path) -> bool {
    ["initdb", "postgres"].iter().all(|program| folder.join(program).is_file())
}

fn number(command: &mut Command) -> Option<u32> {
    output(command)?.parse().ok()
}

/// What a command prints; nothing if it is missing or fails.
fn output(command: &mut Command) -> Option<String> {
    let output = command.output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::super::folder::Folder;
    use super::*;

    #[test]
    fn the_newest_version_with_a_server_is_taken() {
        let versions = Folder::create(None).expect("the temporary folder is writable");
        for (version, programs) in
            [("9", &["initdb", "postgres"][..]), ("15", &["initdb", "postgres"]), ("17", &["psql"])]
        {
            let folder = versions.path().join(version).join("bin");
            fs::create_dir_all(&folder).expect("the temporary folder is writable");
            for program in programs {
                fs::write(folder.join(program), "").expect("the temporary folder is writable");
            }
        }
        assert_eq!(newest_version(versions.path()), Some(versions.path().join("15/bin")));
        assert_eq!(newest_version(&versions.path().join("none")), None);
    }
}
