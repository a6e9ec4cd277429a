//! What all commands have in common: lines that fit the terminal, and what an exit code means.

use std::process::Output;

use serde_json::Value;
use sessionfold::event::EventKind;
use sqlx::Executor;
use unicode_width::UnicodeWidthStr;

use crate::{
    deployment::Deployment,
    guarantees::records,
    program::{Instance, run, until},
};

const WIDTH: usize = 80;

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

fn arguments(line: &str) -> Vec<&str> {
    line.split(' ').collect()
}

/// With sessions, dead letters, transitions, decisions and a generation, all with long names, and with faults in the
/// tables.
async fn eventful() -> Deployment {
    let deployment = Deployment::new(1).await;
    deployment.send(&records(3_000, 83)).await;
    deployment.drain().await;
    let mut connection = deployment.connect().await;
    for change in [
        "UPDATE transitions SET set_aside_at = now(), attempts = 3, last_error = repeat('refused ', 40)
            WHERE id = (SELECT min(id::text)::uuid FROM transitions)",
        "UPDATE sessions SET working_directory = repeat('/home/dev/somewhere', 12), git_branch = repeat('feature-', 20)",
        "UPDATE dead_letters SET attempts = 12, detail = repeat('a long detail ', 30)",
        "DELETE FROM tool_executions WHERE tool_execution_id =
            (SELECT min(tool_execution_id::text)::uuid FROM tool_executions)",
    ] {
        connection.execute(change).await.unwrap();
    }
    let topic = deployment.topic(EventKind::Tool);
    for line in [
        format!("offsets seek --yes --topic {topic} --to earliest"),
        "replay --into the_generation_of_a_name --set aggregator.reopen_grace=0s".to_owned(),
    ] {
        let output = run(&deployment, &arguments(&line));
        assert!(output.status.success(), "{line}: {}", said(&output));
    }
    deployment
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_printed_fits_a_terminal_of_80_columns() {
    let mut deployment = eventful().await;
    let wide = String::from_utf8(run(&deployment, &["offsets", "show"]).stdout).unwrap();
    assert!(wide.lines().next().unwrap().ends_with("behind"), "without a terminal a row is a line: {wide}");
    assert!(wide.lines().any(|line| line.width() > WIDTH), "{wide}");

    let letters = run(&deployment, &["dead-letters", "list", "--json"]).stdout;
    let letters: Value = serde_json::from_slice(&letters).unwrap();
    let sessions = run(&deployment, &["sessions", "list", "--json"]).stdout;
    let sessions: Value = serde_json::from_slice(&sessions).unwrap();
    let (letter, session) = (&letters["dead_letters"][0]["id"], &sessions["sessions"][0]["session_id"]);
    let (letter, session) = (letter.as_str().unwrap(), session.as_str().unwrap());
    let topic = deployment.topic(EventKind::Prompt).to_owned();
    deployment.set("COLUMNS", &WIDTH.to_string());
    for line in [
        "check",
        "check --set kafka.topics=no.such.topic,nor.such.a.topic,nor.this.one.either",
        "migrate",
        "offsets show",
        &format!("offsets seek --yes --topic {topic} --to earliest"),
        "sessions list --limit 5",
        &format!("sessions show {session}"),
        &format!("sessions timeline {session}"),
        "dead-letters list --limit 3",
        &format!("dead-letters show {letter}"),
        "dead-letters redrive --dry-run",
        "dead-letters discard --dry-run",
        "transitions list",
        "retention --dry-run --set retention.sessions=1d --set retention.open_dead_letters=1d",
        "replay --dry-run",
        "generations list",
        "generations diff live the_generation_of_a_name",
        "verify",
        "verify --topics",
        "run --drain",
        "generate --records 100",
    ] {
        let output = run(&deployment, &arguments(line));
        let printed = String::from_utf8(output.stdout.clone()).unwrap();
        assert!(printed.lines().count() > 0, "{line}: {}", said(&output));
        for shown in printed.lines() {
            // A position can't be broken: it is copied whole.
            let is_position = shown.starts_with("next: --after ");
            assert!(shown.width() <= WIDTH || is_position, "{line}: {} columns\n{shown}", shown.width());
        }
    }
    for line in ["--help", "replay --help", "offsets adopt --help", "sessions finalize --help"] {
        let printed = String::from_utf8(run(&deployment, &arguments(line)).stdout).unwrap();
        // The usage is one line in any case.
        let is_wide = |shown: &&str| shown.width() > WIDTH && !shown.starts_with("Usage: ");
        let wide: Vec<&str> = printed.lines().filter(is_wide).collect();
        assert!(wide.is_empty(), "{line}: {wide:#?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_named_and_is_not_there_ends_with_1() {
    let deployment = Deployment::new(1).await;
    deployment.send(&records(100, 84)).await;
    deployment.drain().await;
    let topic = deployment.topic(EventKind::Tool);
    for (line, named) in [
        ("sessions show nobody", "\"nobody\""),
        ("sessions timeline nobody", "\"nobody\""),
        ("sessions finalize nobody --reason gone", "\"nobody\""),
        ("sessions finalize nobody --reason gone --topic nowhere", "nowhere"),
        ("verify --session nobody", "nothing is stored"),
        (
            "dead-letters show 00000000-0000-0000-0000-000000000000",
            "no dead letter 00000000-0000-0000-0000-000000000000",
        ),
        ("generations diff live nobody", "no generation nobody"),
        ("generations diff nobody live", "no generation nobody"),
        ("generations promote nobody --yes", "no generation nobody"),
        ("generations drop nobody --yes", "no generation nobody"),
        ("offsets seek --topic nowhere --to latest --yes", "nowhere"),
        (&format!("offsets seek --topic {topic} --partition 99 --to latest --yes"), "[99]"),
        (&format!("offsets adopt --topic {topic} --partition 99 --to latest --yes"), "[99]"),
        ("offsets adopt --topic nowhere --partition 0 --to latest --yes", "nowhere"),
        ("replay --topic nowhere", "nowhere"),
        ("replay --from nowhere:0:0", "nowhere"),
        (&format!("replay --from {topic}:99:0"), "[99]"),
        ("dev stop /nowhere/at/all", "/nowhere/at/all"),
    ] {
        let output = run(&deployment, &arguments(line));
        assert_eq!(output.status.code(), Some(1), "{line}: {}", said(&output));
        let last = said(&output);
        let last = last.lines().last().unwrap();
        assert!(last.starts_with("sessionfold: ") && last.contains(named), "{line}: {last}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn conditions_that_nothing_meets_are_no_failure() {
    let deployment = Deployment::new(1).await;
    deployment.send(&records(100, 85)).await;
    deployment.drain().await;
    for line in [
        "sessions list --branch nowhere",
        "sessions export --directory /nowhere",
        "sessions restore nobody",
        "dead-letters list --topic nowhere",
        "dead-letters redrive --id 00000000-0000-0000-0000-000000000000",
        "dead-letters discard --reason rejected",
        "transitions list --session nobody",
        "transitions retry --session nobody",
        "retention",
    ] {
        let output = run(&deployment, &arguments(line));
        assert_eq!(output.status.code(), Some(0), "{line}: {}", said(&output));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_in_the_call_ends_with_2() {
    let deployment = Deployment::new(1).await;
    deployment.send(&records(100, 86)).await;
    deployment.drain().await;
    let topic = deployment.topic(EventKind::Tool);
    for line in [
        "sessions list --limit 0",
        "sessions list --after nowhere",
        "dead-letters show nope",
        "dead-letters list --reason none",
        "generations diff live",
        "generations promote UPPER --yes",
        "generations drop original --yes",
        "replay --rate 0",
        "replay --from tomorrow",
        "run --drain --set no.such=1",
        "run --json",
        "verify --limit many",
        "sessions delete somebody",
        &format!("offsets seek --topic {topic} --to 999999 --yes"),
        &format!("offsets adopt --topic {topic} --partition 0 --to 999999 --yes"),
        &format!("offsets seek --topic {topic} --to earliest"),
        "no-such-command",
    ] {
        let output = run(&deployment, &arguments(line));
        assert_eq!(output.status.code(), Some(2), "{line}: {}", said(&output));
    }
    let decisions = "SELECT count(*) FROM adopted_offsets";
    let decisions: i64 = sqlx::query_scalar(decisions).fetch_one(&mut deployment.connect().await).await.unwrap();
    assert_eq!(decisions, 0, "nothing was changed");
}

#[tokio::test(flavor = "multi_thread")]
async fn check_prints_its_findings_for_programs_too() {
    let deployment = Deployment::new(1).await;
    let found = |arguments: &[&str], code| {
        let output = run(&deployment, arguments);
        assert_eq!(output.status.code(), Some(code), "{}", said(&output));
        serde_json::from_slice::<Value>(&output.stdout).unwrap()
    };
    let state = |found: &Value, part: &str| {
        let parts = found["parts"].as_array().unwrap();
        let state = parts.iter().find(|found| found["part"] == part).map(|found| found["state"].clone());
        state.unwrap_or_default()
    };
    let good = found(&["check", "--json"], 0);
    assert_eq!(good["ok"], true);
    for part in ["configuration", "broker", "topics", "database", "migrations", "statements"] {
        assert_eq!(state(&good, part), "ok", "{good}");
    }
    let bad = found(&["check", "--json", "--set", "kafka.topics=no.such.topic"], 1);
    assert_eq!(
        (&bad["ok"], state(&bad, "topics"), state(&bad, "broker")),
        (&false.into(), "failed".into(), "ok".into())
    );
    let wrong = found(&["check", "--json", "--set", "batch.max_events=0"], 2);
    assert_eq!((&wrong["ok"], state(&wrong, "configuration")), (&false.into(), "failed".into()));

    let config = found(&["config", "--json"], 0);
    assert_eq!(config["kafka"]["group_id"], deployment.group_id);
    assert_eq!(found(&["migrate", "--json"], 0)["applied"], 0);
    deployment.send(&records(100, 87)).await;
    let drained = found(&["run", "--drain", "--json"], 0);
    assert_eq!((&drained["records"], &drained["halted"]), (&100.into(), &0.into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_says_that_it_waits_for_its_group_and_ends_without_being_paused() {
    let deployment = Deployment::new(1).await;
    deployment.send(&records(500, 88)).await;
    let mut instance = Instance::start(&deployment, &["run"]);
    let mut connection = deployment.connect().await;
    let committed = async || {
        let read = "SELECT coalesce(sum(next_offset), 0)::bigint FROM checkpoints";
        sqlx::query_scalar::<_, i64>(read).fetch_one(&mut connection).await.unwrap() == 500
    };
    until("it has read all", std::time::Duration::from_secs(60), committed).await;
    instance.stop().await;
    let log = instance.log();
    let at = |text: &str| log.lines().position(|line| line.contains(text)).unwrap_or_else(|| panic!("{text}: {log}"));
    let waits = at("waiting for the group to assign partitions");
    assert!(log.lines().nth(waits).unwrap().contains(&deployment.group_id), "{log}");
    assert!(waits < at("partitions assigned"), "{log}");
    let last = log.lines().rfind(|line| line.contains(" progress ")).unwrap();
    assert!(last.contains("read=500") && last.contains("paused=false"), "{last}");
}
