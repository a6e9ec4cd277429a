//! The command line: one file a subcommand. Exit codes: 0 done, 1 failed at run time, 2 wrong usage or configuration.

#[macro_use]
mod output;

mod arguments;
mod check;
mod completions;
mod config;
mod confirm;
mod dead_letters;
mod demo;
mod dev;
mod generate;
mod generations;
mod logging;
mod mcp;
mod migrate;
mod offsets;
mod progress;
mod replay;
mod retention;
mod run;
mod sessions;
mod signals;
mod summary;
mod table;
mod terminal;
#[cfg(test)]
mod tests;
mod transitions;
mod verify;

use std::{path::PathBuf, process::ExitCode, time::Duration};

use clap::{Args, Parser, Subcommand};

use crate::{
    config::{Config, Sources},
    fold::SideAggregators,
};

/// Reads the session events of coding agents from Kafka, folds them per session, and keeps the result in Postgres.
///
/// Settings come from the defaults, then a file (--config), then the environment (SESSIONFOLD_SECTION__KEY), then
/// --set. `sessionfold config` shows what they come to.
///
/// Exit codes: 0 done; 1 failed on the way, or what was named is not there; 2 wrong usage or configuration, or nobody
/// said yes: nothing was changed.
#[derive(Parser)]
#[command(
    version,
    max_term_width = 100,
    after_help = "\
Examples:
  sessionfold check --config sessionfold.toml
  sessionfold run --config sessionfold.toml
  sessionfold sessions list --status active"
)]
struct Cli {
    #[command(flatten)]
    settings: SettingsArgs,
    #[command(subcommand)]
    command: Command,
}

#[derive(Args, Clone)]
struct SettingsArgs {
    /// A TOML file with settings; also named by SESSIONFOLD_CONFIG
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// A setting, like batch.max_events=5000; may be given several times
    #[arg(long, global = true, value_name = "SECTION.KEY=VALUE")]
    set: Vec<String>,
}

#[derive(Subcommand)]
enum Command {
    /// Consume: read, fold and commit until stopped
    Run(run::RunArgs),
    /// Apply the migrations that the database lacks
    Migrate(migrate::MigrateArgs),
    /// Check configuration, broker, topics, database, migrations and statements
    Check(check::CheckArgs),
    /// Show the whole on a private broker and a private Postgres
    Demo(demo::DemoArgs),
    /// Send synthetic events to Kafka
    Generate(generate::GenerateArgs),
    /// Look at records that are no good events, and decide what becomes of them
    DeadLetters(dead_letters::DeadLettersArgs),
    /// Show checkpoints, or decide how a halted partition goes on
    Offsets(offsets::OffsetsArgs),
    /// List, show, export, finalize or delete sessions
    Sessions(sessions::SessionsArgs),
    /// Look at changes of status that are not published, and send those again that were set aside
    Transitions(transitions::TransitionsArgs),
    /// Delete what is older than the configuration allows, once
    Retention(retention::RetentionArgs),
    /// Compare what is stored with the fold of the stored events
    Verify(verify::VerifyArgs),
    /// Fold what the logs hold once more, into the live tables or a generation
    Replay(replay::ReplayArgs),
    /// Look at generations, compare them, and choose the live one
    Generations(generations::GenerationsArgs),
    /// Answer an agent's questions about sessions, by the Model Context Protocol on standard input and output
    ///
    /// Reads from Postgres; from Kafka only how far the tables are behind. The log goes to standard error.
    #[command(after_help = "\
Example: sessionfold mcp --config sessionfold.toml
For an agent:
  claude mcp add sessionfold -- sessionfold mcp --config sessionfold.toml")]
    Mcp,
    /// Print the effective configuration, secrets masked
    Config(config::ConfigArgs),
    /// Print a script that completes commands and options in a shell
    #[command(after_help = "Example: sessionfold completions zsh > ~/.zfunc/_sessionfold")]
    Completions(completions::CompletionsArgs),
    /// Run a command beside a private broker and a private Postgres
    Dev(dev::DevArgs),
}

/// Why a command failed, by the exit code that it means.
enum Failure {
    /// The fault is in how the program was called.
    Usage(anyhow::Error),
    /// The fault arose on the way.
    Runtime(anyhow::Error),
}

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Runtime(error.into())
    }
}

type CommandResult = Result<ExitCode, Failure>;

impl SettingsArgs {
    fn load(self) -> Result<Config, Failure> {
        let load = || Config::load(Sources::of_process(self.config, self.set)?);
        load().map_err(|error| Failure::Usage(anyhow::Error::from(error).context("configuration")))
    }
}

/// Runs the program, with these aggregators beside the sessions' own.
///
/// The whole `main` of a program that plugs in aggregators; see the folder `examples`.
pub fn main(sides: SideAggregators) -> ExitCode {
    let Cli { settings, command } = Cli::parse();
    let result =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(Failure::from).and_then(|runtime| {
            let result = runtime.block_on(dispatch(settings, command, sides));
            // Whoever still waits for a dead broker or database is not waited for.
            runtime.shutdown_timeout(Duration::from_millis(500));
            result
        });
    match (result, output::failure()) {
        (Ok(_), Some(error)) => fail(&anyhow::anyhow!("standard output can't be written to: {error}"), 1),
        (result, _) => exit_code(result),
    }
}

fn exit_code(result: CommandResult) -> ExitCode {
    match result {
        Ok(code) => code,
        Err(Failure::Usage(error)) => fail(&error, 2),
        Err(Failure::Runtime(error)) => fail(&error, 1),
    }
}

/// One line, without a backtrace.
fn fail(error: &anyhow::Error, code: u8) -> ExitCode {
    eprintln!("sessionfold: {}", format!("{error:#}").replace('\n', " "));
    ExitCode::from(code)
}

async fn dispatch(settings: SettingsArgs, command: Command, sides: SideAggregators) -> CommandResult {
    match command {
        Command::Run(args) => run::execute(settings.load()?, args, sides).await,
        Command::Migrate(args) => migrate::execute(settings.load()?, args).await,
        Command::Check(args) => check::execute(settings.load(), args).await,
        Command::Demo(args) => demo::execute(settings, args, sides).await,
        Command::Generate(args) => generate::execute(settings.load()?, args).await,
        Command::DeadLetters(args) => dead_letters::execute(settings.load()?, args, sides).await,
        Command::Offsets(args) => offsets::execute(settings.load()?, args).await,
        Command::Sessions(args) => sessions::execute(settings.load()?, args).await,
        Command::Transitions(args) => transitions::execute(settings.load()?, args).await,
        Command::Retention(args) => retention::execute(settings.load()?, args).await,
        Command::Verify(args) => verify::execute(settings.load()?, args, sides).await,
        Command::Replay(args) => replay::execute(settings.load()?, args, sides).await,
        Command::Generations(args) => generations::execute(settings.load()?, args, sides).await,
        Command::Mcp => mcp::execute(&settings.load()?).await,
        Command::Config(args) => config::execute(&settings.load()?, args),
        Command::Completions(args) => completions::execute(&args),
        Command::Dev(args) => dev::execute(args).await,
    }
}
