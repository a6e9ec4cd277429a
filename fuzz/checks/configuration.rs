//! Whatever a file, variables and flags say, loading them does not panic, what is accepted renders to a file that says
//! the same, and a secret shows nowhere.

mod planted_secret;
mod reloading;
mod temporary_file;

use sessionfold::config::{Config, Sources};

use super::input::Input;
use planted_secret::{PlantedSecret, SECRET};
use temporary_file::TemporaryFile;

/// After the bytes that choose a place for the secret, parts with U+0000 between them: the end of the secret's URL, the
/// file, and for each variable `NAME=value`, for each flag `--set ` and what follows it.
pub fn check(data: &[u8]) {
    let mut input = Input::new(data);
    let planted = PlantedSecret::read(&mut input);
    let text = String::from_utf8_lossy(input.rest());
    // A key like `postgres.url_file` names any file, and a device may have no end.
    if text.contains(SECRET) || ["/dev", "/proc", "/sys"].iter().any(|folder| text.contains(folder)) {
        return;
    }
    let mut parts = text.split('\0');
    let url_end = parts.next().unwrap_or_default();
    let mut file = parts.next().unwrap_or_default().to_owned();
    let (mut environment, mut flags) = (Vec::new(), Vec::new());
    for part in parts {
        if let Some(flag) = part.strip_prefix("--set ") {
            flags.push(flag.to_owned());
        } else if let Some((name, value)) = part.split_once('=') {
            environment.push((name.to_owned(), value.to_owned()));
        }
    }
    let _secret_file = planted.put_into(url_end, &mut file, &mut environment, &mut flags);

    let file = TemporaryFile::holding("settings.toml", &file);
    let sources = Sources { file: Some(file.path().to_owned()), environment, flags };
    match Config::load(sources) {
        Err(error) => assert_hidden(&format!("{error}\n{error:?}")),
        Ok(config) => {
            assert_hidden(&format!("{}\n{config:?}", config.render()));
            reloading::check(&config);
        }
    }
}

fn assert_hidden(shown: &str) {
    assert!(!shown.contains(SECRET), "{shown}");
}
