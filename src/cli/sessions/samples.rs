//! A few sessions, and what is printed of them: what `docs/operations.md` shows.

use uuid::Uuid;

use crate::{
    event::{EventTime, SessionId},
    fold::Status,
    store::{
        Direction, FailedExecution, PromptLine, SessionDetail, SessionOrder, SessionPage, SessionSort, SessionView,
        TransitionLine,
    },
};

pub(super) fn at(text: &str) -> EventTime {
    EventTime::parse(&format!("2026-03-01T{text}Z")).unwrap()
}

pub(super) fn ended() -> SessionView {
    SessionView {
        session_id: SessionId::parse("0b0f7c1e-4a2d-4b7e-9d55-3f0d6f1f9a11").unwrap(),
        status: Status::Ended,
        correlation_id: Uuid::from_u128(0x0b0f_7c1e_4a2d_4b7e_9d55_3f0d_6f1f_9a11),
        task_id: None,
        started_at: Some(at("09:00:00")),
        ended_at: Some(at("09:12:31.5")),
        duration_seconds: Some(751.5),
        working_directory: Some("/home/dev/checkout".to_owned()),
        git_branch: Some("main".to_owned()),
        hook_source: Some("startup".to_owned()),
        end_reason: Some("prompt_input_exit".to_owned()),
        end_provenance: Some("explicit".to_owned()),
        run_count: 1,
        prompt_count: 6,
        tool_count: 5,
        tool_failure_count: 1,
        tools_used_count: 3,
        tool_usage: [("Bash".to_owned(), 3), ("Edit".to_owned(), 1), ("Read".to_owned(), 1)].into(),
        event_count: 13,
        first_event_at: at("09:00:00"),
        last_event_at: at("09:12:31.5"),
        aggregator: "convergent/1".to_owned(),
        version: 4,
        created_at: at("09:00:00.4"),
        updated_at: at("09:12:31.9"),
    }
}

pub(super) fn orphan() -> SessionView {
    SessionView {
        session_id: SessionId::parse("ci-run-4711").unwrap(),
        status: Status::Orphan,
        started_at: None,
        ended_at: None,
        duration_seconds: None,
        working_directory: None,
        git_branch: None,
        hook_source: None,
        end_reason: None,
        end_provenance: None,
        run_count: 0,
        prompt_count: 0,
        tool_count: 2,
        tool_failure_count: 0,
        tools_used_count: 0,
        tool_usage: [].into(),
        event_count: 2,
        first_event_at: at("09:05:00"),
        last_event_at: at("09:05:02"),
        ..ended()
    }
}

pub(super) fn page() -> SessionPage {
    let order = SessionOrder { by: SessionSort::LastEvent, direction: Direction::Descending };
    let sessions = vec![ended(), orphan()];
    SessionPage { next: sessions.last().map(|last| order.position(last)), sessions }
}

pub(super) const TABLE: &str = "\
session                               status  last event (UTC)      lasted  prompts  tools  directory           branch
0b0f7c1e-4a2d-4b7e-9d55-3f0d6f1f9a11  ended   2026-03-01 09:12:31  12m 32s        6      5  /home/dev/checkout  main
ci-run-4711                           orphan  2026-03-01 09:05:02        -        0      2  -                   -
next: --after WyJzZXNzaW9ucyBieSBsYXN0LWV2ZW50IGRlc2NlbmRpbmciLFsxNzcyMzU1OTAyMDAwMDAwLCJjaS1ydW4tNDcxMSJdXQ
";

pub(super) fn detail() -> SessionDetail {
    let prompt = |time: &str, text: &str| PromptLine {
        emitted_at: at(time),
        prompt_preview: text.to_owned(),
        prompt_length: i64::try_from(text.chars().count()).unwrap(),
    };
    SessionDetail {
        session: ended(),
        prompts: vec![
            prompt("09:00:04", "Why does the checkout test fail on Tuesdays?"),
            prompt("09:02:10", "Fix it, and add a test that would have found it"),
            prompt("09:09:41", "Also in the French translation"),
            prompt("09:12:02", "Commit"),
        ],
        failures: vec![FailedExecution {
            emitted_at: at("09:01:12.3"),
            tool_name: "Bash".to_owned(),
            duration_ms: Some(8_200),
            summary: Some("cargo test checkout: 1 failed".to_owned()),
        }],
        transition_count: 2,
        last_transition: Some(TransitionLine {
            from_status: Some("active".to_owned()),
            to_status: "ended".to_owned(),
            cause: "event".to_owned(),
            occurred_at: at("09:12:31.9"),
        }),
    }
}

pub(super) const CARD: &str = "\
session      0b0f7c1e-4a2d-4b7e-9d55-3f0d6f1f9a11
status       ended by prompt_input_exit at 2026-03-01 09:12:31 UTC
lasted       12m 32s
directory    /home/dev/checkout
branch       main
started      2026-03-01 09:00:00 UTC by startup, 1 run
last event   2026-03-01 09:12:31 UTC
events       13: 6 prompts, 5 tool executions (1 failed)
tools        Bash 3, Edit 1, Read 1
correlation  0b0f7c1e-4a2d-4b7e-9d55-3f0d6f1f9a11
folded by    convergent/1, version 4
stored       2026-03-01 09:00:00 UTC, changed 2026-03-01 09:12:31 UTC
transitions  2, the last 2026-03-01 09:12:31 UTC: active -> ended (event)
prompts      4.0s      \"Why does the checkout test fail on Tuesdays?\"
             2m 10s    \"Fix it, and add a test that would have found it\"
             … 2 more
             9m 41s    \"Also in the French translation\"
             12m 2s    \"Commit\"
failures     1m 12s    Bash  \"cargo test checkout: 1 failed\"
";
