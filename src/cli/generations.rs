//! `sessionfold generations`: complete sets of tables beside the live ones, how they differ, and which is live.

mod table;

use std::{process::ExitCode, str::FromStr};

use anyhow::anyhow;
use chrono::{DateTime, Utc};
use clap::{Args, Subcommand};
use serde::Serialize;
use serde_json::json;

use crate::{
    config::{AggregatorConfig, Config},
    fold::SideAggregators,
    service::{
        OtherGeneration, Promoter, PromotionError, adopt_generation, open_generation, open_store, preflight_database,
        settings_of, with_aggregators,
    },
    store::{Generation, GenerationName, ReplayName, Store},
};

use super::{
    CommandResult, Failure,
    arguments::whole,
    check::first_problem,
    confirm::ask,
    logging,
    progress::{ProgressBar, grouped},
    terminal::Terminal,
};

#[derive(Args)]
#[command(after_help = "Example: sessionfold generations list")]
pub(super) struct GenerationsArgs {
    #[command(subcommand)]
    command: GenerationsCommand,
}

#[derive(Subcommand)]
enum GenerationsCommand {
    /// Show all, the live one first
    #[command(after_help = "Example: sessionfold generations list --json")]
    List {
        /// Print one JSON array
        #[arg(long)]
        json: bool,
    },
    /// Compare two, session by session and field by field
    ///
    /// Compared is what events and settings decide, not when or how often a row was written. Events that one has read
    /// and the other hasn't make a difference, too.
    #[command(after_help = "Example: sessionfold generations diff live shorter")]
    Diff(DiffArgs),
    /// Make one the live one, for readers and the live consumer at once
    ///
    /// What the logs have in the meantime is read into it first. Then one transaction gives it the live schema's name, the
    /// consumer group's checkpoints, and the rights that others have on the live tables. Running instances notice it with
    /// their next batch and go on with its settings. The one that was live stays, under its own name: promoting it is the
    /// way back. Views that were made on the live tables stay with them.
    #[command(after_help = "Example: sessionfold generations promote shorter")]
    Promote(PromoteArgs),
    /// Delete one that isn't live
    #[command(after_help = "Example: sessionfold generations drop shorter")]
    Drop(DropArgs),
}

#[derive(Args)]
struct DiffArgs {
    /// The name of a generation, or `live`
    #[arg(value_name = "FIRST")]
    first: Which,
    /// Another, which it is compared with
    #[arg(value_name = "SECOND")]
    second: Which,
    /// Most sessions to show; all are counted
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = whole(0_u32..))]
    limit: u32,
    /// End with 1 where they differ
    #[arg(long)]
    exit_code: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
struct PromoteArgs {
    /// The generation that is to be live
    #[arg(value_name = "NAME")]
    name: GenerationName,
    /// The replay that has filled it
    #[arg(long, value_name = "NAME", default_value_t)]
    replay: ReplayName,
    /// Don't ask
    #[arg(long)]
    yes: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
struct DropArgs {
    /// The generation to delete
    #[arg(value_name = "NAME")]
    name: GenerationName,
    /// Don't ask
    #[arg(long)]
    yes: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Which {
    Live,
    Other(GenerationName),
}

impl FromStr for Which {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "live" { Ok(Self::Live) } else { text.parse().map(Self::Other) }
    }
}

pub(super) async fn execute(config: Config, args: GenerationsArgs, sides: SideAggregators) -> CommandResult {
    logging::start(&config.log)?;
    let live = open_store(&config);
    first_problem(&preflight_database(&live, false).await)?;
    let result = match args.command {
        GenerationsCommand::List { json } => list(&config, &live, json).await,
        GenerationsCommand::Diff(args) => diff(&live, args).await,
        GenerationsCommand::Promote(args) => promote(config, &live, args, sides).await,
        GenerationsCommand::Drop(args) => drop_one(&config, &live, args).await,
    };
    live.close().await;
    result
}

/// A generation, as the list tells of it.
#[derive(Serialize)]
struct Listed {
    name: String,
    state: State,
    schema: String,
    sessions: u64,
    created_at: DateTime<Utc>,
    promoted_at: Option<DateTime<Utc>>,
    /// None: the configuration's.
    inactivity_timeout_seconds: Option<f64>,
    reopen_grace_seconds: Option<f64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum State {
    Live,
    /// It was live before.
    Previous,
    /// Its replay came to its end.
    Rebuilt,
    Unfinished,
}

async fn list(config: &Config, live: &Store, json: bool) -> CommandResult {
    let mut all = vec![listed(live, live.generation().await?, State::Live).await?];
    for name in live.other_generations().await? {
        let Some(other) = open_generation(config, live, &name).await? else { continue };
        let state = state(&other).await?;
        all.push(listed(&other.store, other.generation, state).await?);
        other.store.close().await;
    }
    if json {
        outln!("{}", serde_json::to_string(&all)?);
    } else {
        out!("{}", table::generations(&all, Terminal::of_stdout()));
    }
    Ok(ExitCode::SUCCESS)
}

async fn state(other: &OtherGeneration) -> Result<State, Failure> {
    if other.generation.promoted_at.is_some() || other.generation.settings.is_none() {
        return Ok(State::Previous);
    }
    let replay = other.store.replay(&ReplayName::default()).await?;
    Ok(if replay.is_some_and(|replay| replay.is_finished) { State::Rebuilt } else { State::Unfinished })
}

async fn listed(store: &Store, generation: Generation, state: State) -> Result<Listed, Failure> {
    let settings: Option<AggregatorConfig> = settings_of(&generation)?;
    Ok(Listed {
        name: generation.name.to_string(),
        state,
        schema: store.schema().to_owned(),
        sessions: store.count_sessions().await?,
        created_at: generation.created_at,
        promoted_at: generation.promoted_at,
        inactivity_timeout_seconds: settings.as_ref().map(|settings| settings.inactivity_timeout.as_secs_f64()),
        reopen_grace_seconds: settings.as_ref().map(|settings| settings.reopen_grace.as_secs_f64()),
    })
}

async fn diff(live: &Store, args: DiffArgs) -> CommandResult {
    let (first, second) = (schema_of(live, &args.first).await?, schema_of(live, &args.second).await?);
    let diff = live.diff_generations(&first, &second, args.limit).await?;
    if args.json {
        outln!("{}", serde_json::to_string(&diff)?);
    } else {
        out!("{}", table::diff(&diff, Terminal::of_stdout()));
    }
    Ok(ExitCode::from(u8::from(args.exit_code && !diff.is_equal())))
}

async fn schema_of(live: &Store, which: &Which) -> Result<String, Failure> {
    let name = match which {
        Which::Live => return Ok(live.schema().to_owned()),
        Which::Other(name) => name,
    };
    if live.other_generations().await?.contains(name) {
        return Ok(name.schema(live.schema()));
    }
    if live.generation().await?.name == *name {
        return Ok(live.schema().to_owned());
    }
    Err(unknown(name))
}

fn unknown(name: &GenerationName) -> Failure {
    Failure::Runtime(anyhow!("there is no generation {name}; `sessionfold generations list` shows which there are"))
}

async fn promote(config: Config, live: &Store, args: PromoteArgs, sides: SideAggregators) -> CommandResult {
    let Some(next) = open_generation(&config, live, &args.name).await? else { return Err(unknown(&args.name)) };
    let (live_config, _) = adopt_generation(config, live).await?;
    let difference = live.diff_generations(live.schema(), next.store.schema(), 0).await?;
    let from = live.generation().await?.name;
    eprintln!(
        "generation {} ({} sessions) takes the place of {from} ({} sessions) in schema {}; {} are only in {from}, {} only \
         in {}, {} differ, as they are now",
        args.name,
        grouped(next.store.count_sessions().await?),
        grouped(live.count_sessions().await?),
        live.schema(),
        grouped(difference.only_in_first),
        grouped(difference.only_in_second),
        args.name,
        grouped(difference.differing),
    );
    ask(args.yes)?;
    let next_config = next.config.clone();
    with_aggregators!(next_config, sides, |aggregators| {
        let promoter = Promoter { config: &live_config, live, next: &next, aggregators, replay: args.replay };
        let mut shown = None;
        let watch = |monitor, left| shown = Some(ProgressBar::start(monitor, left));
        let promoted = promoter.promote(watch).await;
        drop(shown);
        if let Err(error) = promoted {
            return Err(not_promoted(live, &next, error).await);
        }
    });
    if args.json {
        outln!("{}", json!({"live": args.name.as_str(), "previous": from.as_str()}));
    } else {
        outln!("generation {} is live; `sessionfold generations promote {from}` goes back", args.name);
    }
    next.store.close().await;
    Ok(ExitCode::SUCCESS)
}

/// Where the answer to the commit was lost, it may have happened all the same.
async fn not_promoted(live: &Store, next: &OtherGeneration, error: PromotionError) -> Failure {
    let outcome = match live.generation().await {
        Ok(generation) if generation.id == next.generation.id => "it is live all the same",
        Ok(_) => "the live generation is as it was",
        Err(_) => "whether it is live is not known; `sessionfold generations list` tells",
    };
    Failure::Runtime(anyhow::Error::from(error).context(outcome))
}

async fn drop_one(config: &Config, live: &Store, args: DropArgs) -> CommandResult {
    if live.generation().await?.name == args.name {
        return Err(Failure::Usage(anyhow!("generation {} is the live one; promote another one first", args.name)));
    }
    let Some(other) = open_generation(config, live, &args.name).await? else { return Err(unknown(&args.name)) };
    let sessions = other.store.count_sessions().await?;
    eprintln!(
        "schema {} is deleted with its {} sessions, and with whatever was made on its tables",
        other.store.schema(),
        grouped(sessions)
    );
    other.store.close().await;
    ask(args.yes)?;
    live.drop_generation(&args.name).await?;
    if args.json {
        outln!("{}", json!({"dropped": args.name.as_str(), "sessions": sessions}));
    } else {
        outln!("generation {} is gone", args.name);
    }
    Ok(ExitCode::SUCCESS)
}
