//! The files of `deploy/`: that they parse, agree with each other, and name nothing that doesn't exist. What needs other
//! programs than this machine may have is in `deploy/README.md`.

mod configuration;
mod files;
mod images;
mod kubernetes;
mod metrics;
mod promql;
mod systemd;

#[test]
fn every_file_parses() {
    let paths = files::all();
    assert!(paths.len() > 20, "{paths:?}");
    for path in paths {
        match path.rsplit('.').next() {
            Some("yaml") => assert!(!files::yaml_documents(&path).is_empty(), "{path} is empty"),
            Some("json") => drop(files::json(&path)),
            Some("toml") => {
                drop(files::text(&path).parse::<toml::Table>().unwrap_or_else(|why| panic!("{path}: {why}")))
            }
            _ => {}
        }
    }
}

#[test]
fn the_readme_names_every_file() {
    let readme = files::text("deploy/README.md");
    for path in files::all() {
        let name = path.strip_prefix("deploy/").expect("below deploy/");
        let is_named = readme.contains(&format!("`{name}`"));
        assert!(is_named || name == "README.md", "deploy/README.md doesn't say what {name} is");
    }
}
