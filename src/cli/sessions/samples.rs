//! A few sessions, and what is printed of them: what `docs/operations.md` shows.

use uuid::Uuid;

use crate::{
    event::{
        Body, Count, DurationMs, EndReason, Ended, Event, EventTime, HookSource, Prompt, RedactedText, SessionId,
        Started, Text, Tool, ToolName,
    },
    fold::Status,
    store::{
        Direction, FailedExecution, PromptLine, SessionDetail, SessionOrder, SessionPage, SessionSort, SessionView,
        Timeline, TimelineEntry, TransitionLine,
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
        prompt_count: 3,
        tool_count: 4,
        tool_failure_count: 1,
        tools_used_count: 3,
        tool_usage: [("Bash".to_owned(), 2), ("Edit".to_owned(), 1), ("Read".to_owned(), 1)].into(),
        event_count: 9,
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
0b0f7c1e-4a2d-4b7e-9d55-3f0d6f1f9a11  ended   2026-03-01 09:12:31  12m 32s        3      4  /home/dev/checkout  main
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
events       9: 3 prompts, 4 tool executions (1 failed)
tools        Bash 2, Edit 1, Read 1
correlation  0b0f7c1e-4a2d-4b7e-9d55-3f0d6f1f9a11
folded by    convergent/1, version 4
stored       2026-03-01 09:00:00 UTC, changed 2026-03-01 09:12:31 UTC
transitions  2, the last 2026-03-01 09:12:31 UTC: active -> ended (event)
prompts      4.0s      \"Why does the checkout test fail on Tuesdays?\"
             2m 10s    \"Fix it, and add a test that would have found it\"
             9m 41s    \"Also in the French translation\"
failures     1m 12s    Bash  \"cargo test checkout: 1 failed\"
";

fn event(time: &str, body: Body) -> TimelineEntry {
    TimelineEntry::Event(Box::new(Event {
        session_id: ended().session_id,
        entity_id: Uuid::nil(),
        correlation_id: ended().correlation_id,
        causation_id: Uuid::nil(),
        emitted_at: at(time),
        task_id: None,
        action_description: RedactedText::of(""),
        body,
    }))
}

fn prompt(time: &str, text: &str) -> TimelineEntry {
    let prompt_length = Count::new(i64::try_from(text.chars().count()).unwrap()).unwrap();
    let prompt_preview = RedactedText::preview_of(text);
    event(time, Body::Prompt(Prompt { prompt_id: Uuid::nil(), prompt_preview, prompt_length, detected_intent: None }))
}

fn tool(time: &str, name: &str, success: bool, millis: i64, summary: &str) -> TimelineEntry {
    event(
        time,
        Body::Tool(Tool {
            tool_execution_id: Uuid::nil(),
            tool_name: ToolName::parse(name).unwrap(),
            success,
            duration_ms: Some(DurationMs::new(millis).unwrap()),
            summary: Some(RedactedText::of(summary)),
        }),
    )
}

fn transition(time: &str, from_status: Option<&str>, to_status: &str) -> TimelineEntry {
    TimelineEntry::Transition(TransitionLine {
        from_status: from_status.map(str::to_owned),
        to_status: to_status.to_owned(),
        cause: "event".to_owned(),
        occurred_at: at(time),
    })
}

pub(super) fn timeline() -> Timeline {
    let started = Started {
        working_directory: Text::parse("/home/dev/checkout").unwrap(),
        git_branch: Some(Text::parse("main").unwrap()),
        hook_source: HookSource::Startup,
    };
    let end =
        Ended { reason: EndReason::PromptInputExit, duration_seconds: None, tools_used_count: Count::new(3).unwrap() };
    let entries = vec![
        event("09:00:00", Body::Started(started)),
        transition("09:00:00.4", None, "active"),
        prompt("09:00:04", "Why does the checkout test fail on Tuesdays?"),
        tool("09:00:09.2", "Read", true, 40, "tests/checkout.rs"),
        tool("09:01:12.3", "Bash", false, 8_200, "cargo test checkout: 1 failed"),
        prompt("09:02:10", "Fix it, and add a test that would have found it"),
        tool("09:02:31", "Edit", true, 120, "src/checkout.rs"),
        tool("09:03:02.8", "Bash", true, 5_100, "cargo test checkout: ok"),
        prompt("09:09:41", "Also in the French translation"),
        event("09:12:31.5", Body::Ended(end)),
        transition("09:12:31.9", Some("active"), "ended"),
    ];
    Timeline { session: ended(), entries, next: None }
}

/// Puts this text wherever a stranger could.
pub(super) fn fill(event: &mut Event, text: &str) {
    event.action_description = RedactedText::of(text);
    match &mut event.body {
        Body::Started(started) => {
            started.working_directory = Text::parse(text).unwrap();
            started.git_branch = Some(Text::parse(text).unwrap());
        }
        Body::Prompt(prompt) => prompt.prompt_preview = RedactedText::of(text),
        Body::Tool(tool) => {
            tool.tool_name = ToolName::parse(text.chars().take(200).collect::<String>()).unwrap();
            tool.summary = Some(RedactedText::of(text));
        }
        Body::Ended(_) => {}
    }
}

pub(super) const TIMELINE: &str = "\
0b0f7c1e-4a2d-4b7e-9d55-3f0d6f1f9a11: ended, 9 events, from 2026-03-01 09:00:00 UTC
  +0:00.0  ▶ start                    startup in /home/dev/checkout on main
  +0:00.4  ~ status                   new -> active (event)
  +0:04.0  » prompt                   \"Why does the checkout test fail on Tuesdays?\"
  +0:09.2  ✓ Read    ▏          40ms  \"tests/checkout.rs\"
  +1:12.3  ✗ Bash    ████████   8.2s  \"cargo test checkout: 1 failed\"
  +2:10.0  » prompt                   \"Fix it, and add a test that would have found it\"
  +2:31.0  ✓ Edit    ▏         120ms  \"src/checkout.rs\"
  +3:02.8  ✓ Bash    █████      5.1s  \"cargo test checkout: ok\"
           ⋮ 6m 38s
  +9:41.0  » prompt                   \"Also in the French translation\"
 +12:31.5  ■ end                      prompt_input_exit
 +12:31.9  ~ status                   active -> ended (event)
";

#[test]
fn the_operators_guide_shows_what_is_printed() {
    let guide = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/operations.md")).unwrap();
    for shown in [TABLE, CARD, TIMELINE] {
        let indented: String = shown.lines().map(|line| format!("    {line}\n")).collect();
        assert!(guide.contains(&indented), "{indented}");
    }
}
