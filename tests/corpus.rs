//! The corpus of the fuzz targets: every input that is kept passes the check of its target.

#[path = "../fuzz/checks/lib.rs"]
mod checks;

fn every_file_passes(target: &str, check: impl Fn(&[u8])) {
    let folder = format!("{}/fuzz/corpus/{target}", env!("CARGO_MANIFEST_DIR"));
    let entries = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{folder}: {error}"));
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(!paths.is_empty(), "{folder} is empty");
    for path in paths {
        println!("{}", path.display()); // shown where the test fails: the last one is at fault
        check(&std::fs::read(&path).unwrap());
    }
}

#[test]
fn every_configuration_of_the_corpus_keeps_its_secrets_and_renders_to_itself() {
    every_file_passes("configuration", checks::configuration::check);
}

#[test]
fn every_dead_letter_of_the_corpus_keeps_its_record() {
    every_file_passes("dead_letter", checks::dead_letter::check);
}

#[test]
fn every_record_of_the_corpus_decodes_to_what_survives_encoding_or_is_refused_without_a_quote() {
    every_file_passes("decode", checks::decode::check);
}

#[test]
fn every_list_of_events_of_the_corpus_folds_in_batches_to_the_fold_of_its_set() {
    every_file_passes("fold", checks::fold::check);
}
