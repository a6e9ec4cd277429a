//! `sessions finalize`: an end that is in the log.

use sessionfold::event::EventKind;

use crate::{
    deployment::{Deployment, drain},
    program::{self, Instance},
    records::{prompt, started, tool},
};

use super::{err, json, out, printed, refused, two_sessions};

/// A session that is active, whose last event is of 09:00:30.
async fn active(deployment: &Deployment) {
    deployment
        .send(&[
            started("s", 1, "2026-03-01T09:00:00Z"),
            prompt("s", 2, "2026-03-01T09:00:05Z"),
            tool("s", 3, "2026-03-01T09:05:00Z", "Bash"),
        ])
        .await;
    deployment.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_service_folds_the_end_and_a_replay_finds_it() {
    let mut deployment = Deployment::new(2).await;
    deployment.set("SESSIONFOLD_SWEEP__INTERVAL", "1h");
    active(&deployment).await;
    let mut instance = Instance::start(&deployment, &["run"]);
    let topic = deployment.topic(EventKind::Ended).to_owned();
    let said = printed(&deployment, &["finalize", "s", "--reason", "its machine\x1b is gone, token=abcdefgh"]);
    assert_eq!(said, format!("s: ended at 2026-03-01 09:05:00 UTC, by an event in {topic}\n"));
    instance.stop().await;
    let shown = json(&deployment, &["show", "s"]);
    assert_eq!(
        (&shown["status"], &shown["end_reason"], &shown["end_provenance"]),
        (&"ended".into(), &"other".into(), &"explicit".into())
    );
    assert_eq!((&shown["duration_seconds"], &shown["event_count"]), (&300.0.into(), &4.into()));
    let drawn = printed(&deployment, &["timeline", "s"]);
    assert!(drawn.contains("■ end     other  \"its machine\\u{1b} is gone, token=***REDACTED***\""), "{drawn}");
    // It came by the log alone: an empty schema gets it too.
    deployment.set("SESSIONFOLD_POSTGRES__SCHEMA", "anew");
    deployment.set("SESSIONFOLD_KAFKA__GROUP_ID", &format!("{}-anew", deployment.group_id));
    assert_eq!(program::run(&deployment, &["migrate"]).status.code(), Some(0));
    assert_eq!(drain(&deployment.config()).await.applied, 4);
    let again = json(&deployment, &["show", "s"]);
    assert_eq!((&again["status"], &again["ended_at"]), (&"ended".into(), &shown["ended_at"]));
    let (code, said) = refused(&deployment, &["finalize", "s", "--reason", "again"]);
    assert_eq!((code, said.as_str()), (1, "sessionfold: \"s\": it is ended already, since 2026-03-01T09:05:00Z\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_an_instance_the_end_is_in_the_log_and_is_folded_later() {
    let deployment = Deployment::new(1).await;
    active(&deployment).await;
    let arguments = ["finalize", "s", "--reason", "gone", "--at", "2026-03-01T09:04:30Z", "--wait", "300ms"];
    let told = json(&deployment, &arguments);
    assert_eq!((&told["folded"], &told["status"]), (&false.into(), &serde_json::Value::Null));
    assert_eq!(told["topic"], deployment.topic(EventKind::Ended));
    let payload = &told["event"]["payload"];
    assert_eq!((&payload["reason"], &payload["action_description"]), (&"other".into(), &"gone".into()));
    assert_eq!(json(&deployment, &["show", "s"])["status"], "active");
    let totals = deployment.drain().await;
    assert_eq!((totals.applied, totals.records()), (1, 1), "one record, which is a good event");
    let shown = json(&deployment, &["show", "s"]);
    assert_eq!((&shown["status"], &shown["duration_seconds"]), (&"ended".into(), &270.0.into()));
    assert_eq!(shown["correlation_id"], payload["correlation_id"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_would_not_end_a_session_is_refused_with_the_reason_and_sends_nothing() {
    let deployment = Deployment::new(1).await;
    active(&deployment).await;
    two_sessions(&deployment).await;
    let with_a_second_start = [started("r", 1, "2026-03-01T09:00:00Z"), started("r", 2, "2026-03-01T10:00:00Z")];
    deployment.send(&with_a_second_start).await;
    deployment.drain().await;
    let deleted = program::run(&deployment, &["sessions", "delete", "b", "--yes"]);
    assert!(deleted.status.success(), "{}", err(&deleted) + &out(&deleted));
    let reason = "x".repeat(161);
    for (arguments, code, part) in [
        (&["finalize", "never", "--reason", "x"][..], 1, "\"never\": no such session is stored"),
        (&["finalize", "a", "--reason", "x"], 1, "\"a\": it is ended already, since 2026-03-01T09:01:00Z"),
        (&["finalize", "b", "--reason", "x"], 1, "\"b\": it was deleted"),
        (
            &["finalize", "s", "--reason", "x", "--at", "2026-03-01T09:00:10Z"],
            2,
            "its last prompt or tool execution is of 2026-03-01T09:05:00Z, longer after that than the reopen grace",
        ),
        (
            &["finalize", "r", "--reason", "x", "--at", "2026-03-01T09:30:00Z"],
            2,
            "it started again at 2026-03-01T10:00:00Z",
        ),
        (&["finalize", "s", "--reason", "x", "--at", "2999-01-01T00:00:00Z"], 2, "future_timestamp"),
        (&["finalize", "s", "--reason", "x", "--topic", "elsewhere"], 1, "elsewhere is none of kafka.topics"),
        (&["finalize", "s", "--reason", &reason], 2, "allowed: 1 to 160 characters"),
        (&["finalize", "s"], 2, "--reason"),
        (&["finalize", "s", "--reason", "x", "--wait", "5"], 2, "has no unit"),
    ] {
        let (found, said) = refused(&deployment, arguments);
        assert!(found == code && said.contains(part), "{arguments:?}: {found} {said}");
    }
    assert_eq!(deployment.drain().await.records(), 0, "nothing was sent");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_end_that_can_not_be_sent_is_a_failure() {
    let mut deployment = Deployment::new(1).await;
    active(&deployment).await;
    deployment.set("SESSIONFOLD_KAFKA__BROKERS", "127.0.0.1:1");
    deployment.set("SESSIONFOLD_KAFKA__CLIENT__MESSAGE_TIMEOUT_MS", "1000");
    let (code, said) = refused(&deployment, &["finalize", "s", "--reason", "x"]);
    assert!(code == 1 && said.contains("the end was not sent: 1 record(s) were not delivered"), "{said}");
}
