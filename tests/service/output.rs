//! Where a command's output goes: to a reader that may leave, or a disk that may be full.

use std::{
    fs::File,
    io::pipe,
    process::{Output, Stdio},
};

use crate::{deployment::Deployment, guarantees::records, program::run_into};

/// Each prints something on standard output here.
const COMMANDS: [&[&str]; 12] = [
    &["run", "--drain"],
    &["migrate"],
    &["check"],
    &["config"],
    &["offsets", "show"],
    &["offsets", "show", "--json"],
    &["dead-letters", "list"],
    &["sessions", "list"],
    &["generations", "list"],
    &["retention", "--dry-run", "--set", "retention.dead_letters=90d"],
    &["replay", "--dry-run"],
    &["verify", "--topics"],
];

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_leaves_ends_each_command_quietly() {
    let deployment = Deployment::new(1).await;
    deployment.send(&records(2_000, 81)).await;
    for command in COMMANDS {
        let (reader, writer) = pipe().unwrap();
        drop(reader);
        let output = run_into(&deployment, command, Stdio::from(writer));
        assert_eq!(output.status.code(), Some(0), "{command:?}: {}", said(&output));
        assert!(!said(&output).contains("panicked"), "{command:?}: {}", said(&output));
    }
    assert_eq!(deployment.drain().await.records(), 0, "the drain had done its work when nobody read what it said");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_under_the_output_is_a_failure_in_a_line() {
    let deployment = Deployment::new(1).await;
    deployment.send(&records(2_000, 82)).await;
    for command in COMMANDS {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let output = run_into(&deployment, command, Stdio::from(full));
        let said = said(&output);
        assert_eq!(output.status.code(), Some(1), "{command:?}: {said}");
        let last = said.lines().last().unwrap();
        assert!(last.starts_with("sessionfold: ") && last.contains("No space left on device"), "{command:?}: {said}");
    }
}
