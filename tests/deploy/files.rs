//! Files of the repository, by their paths from its root.

use std::path::Path;

use serde_json::Value;

/// All files below `deploy/`, but for those that git ignores, sorted.
pub(crate) fn all() -> Vec<String> {
    let mut found = Vec::new();
    collect("deploy", &mut found);
    found.sort();
    found
}

fn collect(folder: &str, found: &mut Vec<String>) {
    for entry in std::fs::read_dir(root().join(folder)).expect("a folder") {
        let entry = entry.expect("an entry");
        let name = entry.file_name().into_string().expect("UTF-8");
        let path = format!("{folder}/{name}");
        if path == "deploy/compose/secrets" {
            continue; // Made by secrets.sh.
        }
        if entry.file_type().expect("a type").is_dir() { collect(&path, found) } else { found.push(path) }
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

pub(crate) fn text(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|why| panic!("{path}: {why}"))
}

pub(crate) fn json(path: &str) -> Value {
    serde_json::from_str(&text(path)).unwrap_or_else(|why| panic!("{path}: {why}"))
}

pub(crate) fn yaml_documents(path: &str) -> Vec<Value> {
    serde_saphyr::from_multiple(&text(path)).unwrap_or_else(|why| panic!("{path}: {why}"))
}

pub(crate) fn yaml(path: &str) -> Value {
    let mut documents = yaml_documents(path);
    assert_eq!(documents.len(), 1, "documents in {path}");
    documents.remove(0)
}

/// What is at a JSON pointer, which has to be there.
pub(crate) fn at<'a>(value: &'a Value, pointer: &str) -> &'a Value {
    value.pointer(pointer).unwrap_or_else(|| panic!("nothing at {pointer}"))
}

pub(crate) fn text_at<'a>(value: &'a Value, pointer: &str) -> &'a str {
    at(value, pointer).as_str().unwrap_or_else(|| panic!("no text at {pointer}"))
}

pub(crate) fn list_at<'a>(value: &'a Value, pointer: &str) -> &'a [Value] {
    at(value, pointer).as_array().unwrap_or_else(|| panic!("no list at {pointer}"))
}

/// The cells of the first Markdown table under a heading, row by row.
pub(crate) fn rows(text: &str, heading: &str) -> Vec<Vec<String>> {
    let text = format!("\n{text}");
    let (_, section) = text.split_once(&format!("\n{heading}\n")).unwrap_or_else(|| panic!("no {heading}"));
    let table = section.lines().skip_while(|line| !line.starts_with('|')).take_while(|line| line.starts_with('|'));
    let cells = |line: &str| line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect();
    table.skip(2).map(cells).collect()
}

/// The anchors of a Markdown file, as they are made of its headings.
pub(crate) fn anchors(text: &str) -> Vec<String> {
    let heading = |line: &str| {
        let words = line.strip_prefix('#')?.trim_start_matches('#').trim().to_lowercase();
        Some(words.replace(' ', "-").replace(|c: char| !c.is_alphanumeric() && c != '-' && c != '_', ""))
    };
    text.lines().filter_map(heading).collect()
}
