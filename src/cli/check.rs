//! `sessionfold check`: a line for each part, with what to do where something is wrong.

use std::process::ExitCode;

use crate::{
    config::Config,
    service::{Finding, open_store, preflight},
};
use anyhow::anyhow;

use super::{CommandResult, Failure};

pub(super) async fn execute(config: Result<Config, Failure>) -> CommandResult {
    let config = match config {
        Ok(config) => config,
        Err(Failure::Usage(error) | Failure::Runtime(error)) => {
            print_line("configuration", &Err(format!("{:#}", error.root_cause())));
            return Ok(ExitCode::from(2));
        }
    };
    print_line("configuration", &Ok(format!("group {}, aggregator {}", config.kafka.group_id, config.aggregator.kind)));
    for warning in config.warnings() {
        outln!("warn   {:<14} {warning}", "configuration");
    }
    let store = open_store(&config);
    let findings = preflight(&config, &store, false).await;
    store.close().await;
    for Finding { part, result } in &findings {
        print_line(part, result);
    }
    Ok(ExitCode::from(u8::from(findings.iter().any(|finding| finding.result.is_err()))))
}

fn print_line(part: &str, result: &Result<String, String>) {
    match result {
        Ok(state) => outln!("ok     {part:<14} {state}"),
        Err(problem) => outln!("FAILED {part:<14} {problem}"),
    }
}

/// The first thing that is wrong, for commands that can't go on then.
pub(super) fn first_problem(findings: &[Finding]) -> Result<(), Failure> {
    let problem = findings.iter().find_map(|Finding { part, result }| Some((part, result.as_ref().err()?)));
    problem.map_or(Ok(()), |(part, problem)| Err(Failure::Runtime(anyhow!("{part}: {problem}"))))
}
