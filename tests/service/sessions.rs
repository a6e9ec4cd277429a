//! `sessionfold sessions`: what it shows, and what it changes.

mod deleting;
mod finalizing;
mod history;
mod looking;

use std::process::Output;

use serde_json::Value;

use crate::{
    deployment::Deployment,
    program,
    records::{ended, prompt, started, tool},
};

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// What it prints; it succeeds, and says nothing on standard error.
#[track_caller]
fn printed(deployment: &Deployment, arguments: &[&str]) -> String {
    let output = program::run(deployment, &[&["sessions"], arguments].concat());
    assert_eq!((output.status.code(), err(&output)), (Some(0), String::new()), "{}", out(&output));
    out(&output)
}

#[track_caller]
fn json(deployment: &Deployment, arguments: &[&str]) -> Value {
    serde_json::from_str(&printed(deployment, &[arguments, &["--json"]].concat())).unwrap()
}

/// Exit code and standard error of a command that fails, and prints nothing.
#[track_caller]
fn refused(deployment: &Deployment, arguments: &[&str]) -> (i32, String) {
    let output = program::run(deployment, &[&["sessions"], arguments].concat());
    assert_eq!(out(&output), "", "{}", err(&output));
    (output.status.code().unwrap(), err(&output))
}

/// Two sessions: `a` has ended, `b` has no start.
async fn two_sessions(deployment: &Deployment) {
    deployment
        .send(&[
            started("a", 1, "2026-03-01T09:00:00Z"),
            prompt("a", 2, "2026-03-01T09:00:05Z"),
            tool("a", 3, "2026-03-01T09:00:10Z", "Bash"),
            ended("a", 4, "2026-03-01T09:01:00Z"),
            tool("b", 5, "2026-03-01T10:00:00Z", "Edit"),
        ])
        .await;
    deployment.drain().await;
}
