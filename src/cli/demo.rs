//! `sessionfold demo`: the whole way of an event, on a private broker and a private Postgres.

use std::{process::ExitCode, time::Instant};

use crate::{
    config::{Config, Sources},
    devstack::{Options, Stack},
    fold::{Aggregators, SessionAggregator, SideAggregators},
    generate::Shape,
    service::{Service, open_store, with_aggregators},
    store::{ExampleSession, Store},
    stream::{KindTopics, Until, create_topics},
};
use anyhow::Context;
use chrono::{TimeDelta, Utc};
use clap::Args;
use tokio::signal::unix::{SignalKind, signal};

use super::{
    CommandResult, Failure, SettingsArgs,
    arguments::whole,
    generate, logging,
    progress::{ProgressDisplay, grouped, per_second},
    summary,
    table::{Column, Table},
    terminal::{Terminal, visible},
};

#[derive(Args)]
#[command(after_help = "Example: sessionfold demo --records 50000 --keep")]
pub(super) struct DemoArgs {
    /// How many records to send, duplicates and bad ones included
    #[arg(long, value_name = "N", default_value_t = 300_000, value_parser = whole(0_u64..))]
    records: u64,
    /// The same seed gives the same sessions
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = whole(0_u64..))]
    seed: u64,
    /// Leave the broker and Postgres running at the end; also asked for by KEEP=1 in the environment
    #[arg(long)]
    keep: bool,
}

/// Partitions of each topic.
const PARTITIONS: i32 = 6;

impl DemoArgs {
    fn keeps(&self) -> bool {
        self.keep || std::env::var("KEEP").is_ok_and(|keep| !matches!(keep.as_str(), "" | "0"))
    }
}

pub(super) async fn execute(settings: SettingsArgs, args: DemoArgs, sides: SideAggregators) -> CommandResult {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let keep = args.keeps();
    tokio::select! {
        result = demonstrate(settings, &args, sides, keep) => result,
        // Dropping the demo drops its stack, which ends both servers.
        _ = terminate.recv() => Ok(ExitCode::from(143)),
        _ = interrupt.recv() => {
            outln!("\ninterrupted; the broker and Postgres are ended");
            Ok(ExitCode::from(130))
        }
    }
}

async fn demonstrate(settings: SettingsArgs, args: &DemoArgs, sides: SideAggregators, keep: bool) -> CommandResult {
    let begun = Instant::now();
    outln!("starting a private broker and a private Postgres …");
    let stack = Stack::start(&Options::default()).await?;
    let config = configure(settings, &stack)?;
    logging::start(&config.log)?;
    outln!("  broker at {}, Postgres at {}", stack.broker.bootstrap(), address_of(&config));

    send_events(&config, args).await?;
    let store = open_store(&config);
    store.migrate().await?;
    outln!("consuming until the end of every partition …");
    with_aggregators!(config, sides, |aggregators| consume(&config, &store, aggregators).await?);
    print_overview(&store).await?;
    store.close().await;

    if keep {
        let left = stack.detach();
        outln!("\nthe broker and Postgres are left running. Look further with\n  {}", left.psql_line);
        outln!("and the tables in schema {}, or with this program's commands, after", config.postgres.schema);
        outln!("  export SESSIONFOLD_KAFKA__BROKERS={}", left.bootstrap);
        outln!("  export SESSIONFOLD_POSTGRES__URL={}", left.postgres_url);
        outln!("End both with\n  {}", left.stop_line());
    } else {
        stack.stop().await;
        outln!("\nthe broker and Postgres are ended; `make demo KEEP=1` leaves them running");
    }
    outln!("{:.1} s in all", begun.elapsed().as_secs_f64());
    Ok(ExitCode::SUCCESS)
}

/// The user's settings, with the stack's addresses over them: a demo must not touch another database.
fn configure(settings: SettingsArgs, stack: &Stack) -> Result<Config, Failure> {
    let load = || {
        let mut sources = Sources::of_process(settings.config, settings.set)?;
        sources.flags.push(format!("kafka.brokers={}", stack.broker.bootstrap()));
        sources.flags.push(format!("postgres.url={}", stack.postgres.url()));
        // The log would write into the progress display.
        if !sources.environment.iter().any(|(name, _)| name == "SESSIONFOLD_LOG__FILTER") {
            sources.flags.insert(0, "log.filter=error".to_owned());
        }
        // The broker waits half of this before it first assigns partitions.
        sources.flags.push("kafka.client.session.timeout.ms=6000".to_owned());
        Config::load(sources)
    };
    load().map_err(|error| Failure::Usage(anyhow::Error::from(error).context("configuration")))
}

fn address_of(config: &Config) -> String {
    let options = config.postgres.connect_options();
    format!("{}:{}", options.get_host(), options.get_port())
}

async fn send_events(config: &Config, args: &DemoArgs) -> Result<(), Failure> {
    create_topics(&config.kafka, &config.kafka.topics, PARTITIONS).await?;
    let shape = Shape {
        records: args.records,
        seed: args.seed,
        start: Utc::now() - TimeDelta::days(1),
        max_value_bytes: config.events.max_value_bytes.get(),
        ..Shape::default()
    };
    outln!(
        "sending {} records to {} topics with {PARTITIONS} partitions each: out of order, duplicated and bad ones among \
         them …",
        grouped(shape.records),
        config.kafka.topics.len()
    );
    let begun = Instant::now();
    let sent = generate::send(config.kafka.clone(), shape, KindTopics::default()).await?;
    let rate = grouped(per_second(sent, begun.elapsed()));
    outln!("  sent in {:.1} s ({rate} records/s)", begun.elapsed().as_secs_f64());
    Ok(())
}

async fn consume<A: SessionAggregator>(
    config: &Config,
    store: &Store,
    aggregators: Aggregators<A>,
) -> Result<(), Failure> {
    let joining = Instant::now();
    store.incomplete_aggregators(&aggregators).await?;
    let service = Service::start(config, store.clone(), aggregators, Until::Drained)?;
    let monitor = service.monitor();
    let display = ProgressDisplay::start(monitor.clone());
    let totals = service.run().await.context("the demo's consumer failed")?;
    drop(display);
    // The broker lets a new group wait for further members, which says nothing about the consumer.
    let time = monitor.working_time();
    outln!("\nwhat came of it (the group took {:.1} s to form):", joining.elapsed().saturating_sub(time).as_secs_f64());
    summary::print(&totals, monitor.progress.discarded(), time);
    Ok(())
}

async fn print_overview(store: &Store) -> Result<(), Failure> {
    let overview = store.overview(3).await?;
    outln!("\nsessions by status:");
    for (status, count) in &overview.sessions_by_status {
        outln!("  {status:<28} {:>12}", grouped(count.unsigned_abs()));
    }
    outln!("dead letters by reason:");
    for (reason, count) in &overview.dead_letters_by_reason {
        outln!("  {reason:<28} {:>12}", grouped(count.unsigned_abs()));
    }
    outln!("\nthree of the sessions:");
    out!("{}", table(&overview.examples, Terminal::of_stdout()));
    Ok(())
}

fn table(sessions: &[ExampleSession], terminal: Terminal) -> String {
    let mut table = Table::new([
        Column::text("session"),
        Column::text("status"),
        Column::text("from"),
        Column::text("to"),
        Column::number("prompts"),
        Column::number("tools"),
        Column::number("failed"),
        Column::text("directory"),
        Column::text("branch"),
        Column::text("ended by"),
    ]);
    let time = |time: Option<chrono::DateTime<Utc>>| {
        time.map_or_else(|| "-".to_owned(), |time| time.format("%H:%M:%S").to_string())
    };
    let text = |text: &Option<String>| text.as_deref().map_or_else(|| "-".to_owned(), visible);
    for session in sessions {
        table.add([
            visible(&session.session_id),
            session.status.clone(),
            time(session.started_at),
            time(session.ended_at),
            session.prompt_count.to_string(),
            session.tool_count.to_string(),
            session.tool_failure_count.to_string(),
            text(&session.working_directory),
            text(&session.git_branch),
            text(&session.end_reason),
        ]);
    }
    table.drawn(terminal)
}
