//! `sessions list` and `show`.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use sessionfold::generate::{Generator, Shape};

use crate::deployment::{Deployment, MAX_VALUE_BYTES};

use super::{json, printed, refused, two_sessions};

/// The ids of a list, page by page.
fn ids(deployment: &Deployment, arguments: &[&str], limit: &str) -> Vec<String> {
    let (mut found, mut after): (Vec<String>, Option<String>) = (Vec::new(), None);
    loop {
        let position: Vec<&str> = after.iter().flat_map(|after| ["--after", after.as_str()]).collect();
        let page = json(deployment, &[&["list", "--limit", limit], arguments, &position].concat());
        let sessions = page["sessions"].as_array().unwrap();
        found.extend(sessions.iter().map(|session| session["session_id"].as_str().unwrap().to_owned()));
        match page["next"].as_str() {
            Some(next) => after = Some(next.to_owned()),
            None => return found,
        }
    }
}

/// The same order by Postgres alone.
async fn by_query(deployment: &Deployment, rest: &str) -> Vec<String> {
    let query = format!("SELECT session_id FROM sessions {rest}");
    let mut connection = deployment.connect().await;
    sqlx::query_scalar(sqlx::AssertSqlSafe(query)).fetch_all(&mut connection).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_order_goes_through_all_sessions_page_by_page_whatever_ties_there_are() {
    let deployment = Deployment::new(1).await;
    let shape = Shape { records: 1_500, max_value_bytes: MAX_VALUE_BYTES, ..Shape::default() };
    deployment.send(&Generator::new(shape).collect::<Vec<_>>()).await;
    deployment.drain().await;
    let mut connection = deployment.connect().await;
    // Ties, and sessions without a value; among them times that differ by a microsecond.
    sqlx::query(
        "UPDATE sessions SET last_event_at = timestamptz '2026-03-01' + make_interval(secs => (event_count % 3) * 1e-6),
            duration_seconds = CASE WHEN event_count % 2 = 0 THEN 0.1::float8 + 0.2::float8 END",
    )
    .execute(&mut connection)
    .await
    .unwrap();
    let columns = [
        ("last-event", "last_event_at"),
        ("first-event", "first_event_at"),
        ("start", "started_at"),
        ("events", "event_count"),
        ("duration", "duration_seconds"),
    ];
    for (sort, column) in columns {
        for (flag, direction) in [(None, "DESC"), (Some("--ascending"), "ASC")] {
            let arguments: Vec<&str> = ["--sort", sort].into_iter().chain(flag).collect();
            let order = format!("ORDER BY {column} {direction} NULLS LAST, session_id");
            let expected = by_query(&deployment, &order).await;
            assert!(expected.len() > 30);
            assert_eq!(ids(&deployment, &arguments, "13"), expected, "{sort} {direction}");
        }
    }
    assert_eq!(ids(&deployment, &[], "1000").len(), by_query(&deployment, "").await.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn filters_leave_the_sessions_that_they_name() {
    let deployment = Deployment::new(1).await;
    two_sessions(&deployment).await;
    let mut connection = deployment.connect().await;
    let others = "INSERT INTO sessions (session_id, status, correlation_id, working_directory, git_branch, run_count,
            prompt_count, tool_count, tool_failure_count, tools_used_count, tool_usage, event_count, first_event_at,
            last_event_at, aggregator, state, version)
        SELECT id, 'active', gen_random_uuid(), directory, branch, 1, 0, 0, 0, 0, '{}', 1, at::timestamptz,
            at::timestamptz, 'convergent/1', '{}', 1
        FROM (VALUES ('c', '/work/app', 'main', '2026-03-02'), ('d', '/workshop', 'main', '2026-03-03'),
            ('e', '/work/', 'a''b%_', '2026-03-04'), ('f', 'C:\\work\\app', '', '2026-03-05')) AS v(id, directory, branch, at)";
    sqlx::query(others).execute(&mut connection).await.unwrap();
    let expected: BTreeMap<&[&str], &[&str]> = BTreeMap::from([
        (&[][..], &["a", "b", "c", "d", "e", "f"][..]),
        (&["--status", "ended"], &["a"]),
        (&["--status", "ended", "--status", "orphan"], &["a", "b"]),
        (&["--directory", "/work"], &["a"]),
        (&["--under", "/work"], &["a", "c", "e"]),
        (&["--under", "/work/"], &["a", "c", "e"]),
        (&["--under", "/"], &["a", "c", "d", "e"]),
        (&["--under", "C:\\work"], &["f"]),
        (&["--under", "/work_"], &[]),
        (&["--branch", "main"], &["c", "d"]),
        (&["--branch", ""], &["f"]),
        (&["--branch", "a'b%_"], &["e"]),
        (&["--tool", "Bash"], &["a"]),
        (&["--tool", "bash"], &[]),
        (&["--from", "2026-03-01T10:00:00Z"], &["b", "c", "d", "e", "f"]),
        (&["--to", "2026-03-01T10:00:00Z"], &["a"]),
        (&["--from", "2026-03-01T10:00:00Z", "--to", "2026-03-03T00:00:00Z", "--status", "active"], &["c"]),
    ]);
    for (arguments, expected) in expected {
        let found: BTreeSet<String> = ids(&deployment, arguments, "2").into_iter().collect();
        assert_eq!(found, expected.iter().map(|id| (*id).to_owned()).collect(), "{arguments:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_is_a_table_with_the_position_of_the_next_page() {
    let deployment = Deployment::new(1).await;
    assert_eq!(printed(&deployment, &["list"]), "no sessions\n");
    two_sessions(&deployment).await;
    let table = printed(&deployment, &["list"]);
    let lines: Vec<&str> = table.lines().collect();
    assert!(lines[0].starts_with("session  status "), "{table}");
    assert!(lines[1].starts_with("b        orphan ") && lines[2].starts_with("a        ended "), "{table}");
    assert_eq!(lines.len(), 3, "{table}");
    let first = printed(&deployment, &["list", "--limit", "1"]);
    let next = first.lines().last().unwrap().strip_prefix("next: --after ").unwrap();
    let second = printed(&deployment, &["list", "--limit", "1", "--after", next]);
    assert!(second.lines().nth(1).unwrap().starts_with("a "), "{second}");
    let (code, said) = refused(&deployment, &["list", "--after", next, "--sort", "events"]);
    assert!(code == 2 && said.contains("in the list by last-event, descending"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_usage_is_told_with_exit_code_2() {
    let deployment = Deployment::new(1).await;
    for arguments in [
        &["list", "--limit", "0"][..],
        &["list", "--limit", "1001"],
        &["list", "--status", "asleep"],
        &["list", "--sort", "name"],
        &["list", "--after", "?"],
        &["list", "--from", "yesterday"],
        &["list", "--directory", "/", "--under", "/"],
        &["show"],
        &["show", ""],
    ] {
        let (code, said) = refused(&deployment, arguments);
        assert!(code == 2 && !said.is_empty(), "{arguments:?}: {said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_shown_and_an_unknown_one_is_not() {
    let deployment = Deployment::new(1).await;
    two_sessions(&deployment).await;
    let card = printed(&deployment, &["show", "a"]);
    for line in [
        "session      a\n",
        "status       ended by other at 2026-03-01 09:01:00 UTC\n",
        "lasted       1m 0s\n",
        "directory    /work\n",
        "branch       -\n",
        "events       4: 1 prompt, 1 tool execution\n",
        "tools        Bash 1\n",
        "folded by    convergent/1, version ",
        "prompts      5.0s      \"do it\"\n",
    ] {
        assert!(card.contains(line), "{line}\n{card}");
    }
    let detail = json(&deployment, &["show", "b"]);
    assert_eq!(detail["status"], "orphan");
    assert_eq!(detail["tool_usage"], serde_json::json!({"Edit": 1}));
    assert_eq!((&detail["transition_count"], &detail["prompts"]), (&1.into(), &Value::Array(Vec::new())));
    assert_eq!(detail["last_transition"]["to_status"], "orphan");
    let (code, said) = refused(&deployment, &["show", "c\x1b[2J"]);
    assert_eq!((code, said.as_str()), (1, "sessionfold: no session \"c\\u{1b}[2J\" is stored\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn completions_are_written_for_each_shell_without_a_configuration() {
    let deployment = Deployment { settings: Vec::new(), ..Deployment::new(1).await };
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let output = crate::program::run(&deployment, &["completions", shell]);
        let script = super::out(&output);
        assert!(output.status.success() && script.contains("under"), "{shell}");
        // The others don't complete values.
        assert!(script.contains("last-event") || ["elvish", "powershell"].contains(&shell), "{shell}");
    }
    assert_eq!(crate::program::run(&deployment, &["completions", "csh"]).status.code(), Some(2));
}
