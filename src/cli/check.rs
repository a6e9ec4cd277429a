//! `sessionfold check`: a line for each part, with what to do where something is wrong.

use std::process::ExitCode;

use crate::{
    config::Config,
    service::{Finding, open_store, preflight},
};
use anyhow::anyhow;
use clap::Args;
use serde::Serialize;
use serde_json::json;

use super::{
    CommandResult, Failure,
    terminal::{Terminal, wrapped},
};

#[derive(Args)]
#[command(after_help = "Example: sessionfold check --config sessionfold.toml")]
pub(super) struct CheckArgs {
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// What is said of one part.
#[derive(Serialize)]
struct Line {
    part: &'static str,
    state: State,
    text: String,
}

#[derive(Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum State {
    Ok,
    Warning,
    Failed,
}

impl Line {
    fn of(Finding { part, result }: Finding) -> Self {
        match result {
            Ok(text) => Self { part, state: State::Ok, text },
            Err(text) => Self { part, state: State::Failed, text },
        }
    }

    fn of_configuration(state: State, text: String) -> Self {
        Self { part: "configuration", state, text }
    }
}

pub(super) async fn execute(config: Result<Config, Failure>, args: CheckArgs) -> CommandResult {
    let config = match config {
        Ok(config) => config,
        Err(Failure::Usage(error) | Failure::Runtime(error)) => {
            let line = Line::of_configuration(State::Failed, format!("{:#}", error.root_cause()));
            print(&[line], args.json);
            return Ok(ExitCode::from(2));
        }
    };
    let told = format!("group {}, aggregator {}", config.kafka.group_id, config.aggregator.kind);
    let mut lines = vec![Line::of_configuration(State::Ok, told)];
    let warnings = config.warnings().iter();
    lines.extend(warnings.map(|warning| Line::of_configuration(State::Warning, warning.to_string())));
    let store = open_store(&config);
    lines.extend(preflight(&config, &store, false).await.into_iter().map(Line::of));
    store.close().await;
    print(&lines, args.json);
    Ok(ExitCode::from(u8::from(has_failed(&lines))))
}

fn has_failed(lines: &[Line]) -> bool {
    lines.iter().any(|line| line.state == State::Failed)
}

/// What stands in front of each line's text, in columns.
const NAMES: usize = 22;

fn print(lines: &[Line], as_json: bool) {
    if as_json {
        return outln!("{}", json!({"ok": !has_failed(lines), "parts": lines}));
    }
    let width = Terminal::of_stdout().width;
    for Line { part, state, text } in lines {
        let state = match state {
            State::Ok => "ok",
            State::Warning => "warn",
            State::Failed => "FAILED",
        };
        outln!("{}", wrapped(&format!("{state:<6} {part:<14} {text}"), NAMES, width));
    }
}

/// The first thing that is wrong, for commands that can't go on then.
pub(super) fn first_problem(findings: &[Finding]) -> Result<(), Failure> {
    let problem = findings.iter().find_map(|Finding { part, result }| Some((part, result.as_ref().err()?)));
    problem.map_or(Ok(()), |(part, problem)| Err(Failure::Runtime(anyhow!("{part}: {problem}"))))
}
