//! Another generation is promoted while transitions are published.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use sqlx::Executor;

use crate::{
    deployment::Deployment,
    guarantees::records,
    program::{Instance, run},
    replay::run_json,
};

use super::{
    count, insert,
    topic::{messages, ordered_by_session},
    until_published, with_topic,
};

/// Rows are written all the time, and come from whichever tables are live.
#[tokio::test(flavor = "multi_thread")]
async fn across_promotions_forth_and_back_each_transition_is_sent_once_and_in_order() {
    let mut deployment = Deployment::new(1).await;
    let topic = with_topic(&mut deployment).await;
    deployment.set("SESSIONFOLD_OUTBOX__BATCH", "50");
    let mut connection = deployment.connect().await;
    deployment.send(&records(500, 72)).await;
    deployment.drain().await;
    run_json(&deployment, &["replay", "--into", "other", "--json"]);
    // As `replay --into --publish-transitions` would write it: published once these tables are live.
    connection
        .execute(
            "INSERT INTO sessionfold_generation_other.transitions
                (id, session_id, session_version, to_status, cause, payload)
             VALUES (gen_random_uuid(), 'of the other', 1, 'active', 'event',
                '{\"session_id\": \"of the other\", \"session_version\": 1}')",
        )
        .await
        .unwrap();
    insert(&mut connection, "backlog", 2_000, 3).await;
    let mut instances = [Instance::start(&deployment, &["run"]), Instance::start(&deployment, &["run"])];

    let stop = Arc::new(AtomicBool::new(false));
    let (stopped, mut writer) = (Arc::clone(&stop), deployment.connect().await);
    let writing = tokio::spawn(async move {
        let mut rounds = 0;
        while !stopped.load(Ordering::Relaxed) {
            insert(&mut writer, &format!("flow{rounds}"), 10, 3).await;
            rounds += 1;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        rounds
    });
    let of_other = "SELECT count(*) FROM sessionfold_generation_other.transitions WHERE published_at IS NOT NULL";
    assert_eq!(count(&mut connection, of_other).await, 0);
    assert!(messages(&deployment, &topic).iter().all(|message| message.key != "of the other"));
    for generation in ["other", "original"] {
        let begun = Instant::now();
        let promoted = run(&deployment, &["generations", "promote", generation, "--yes"]);
        assert!(promoted.status.success(), "{}", String::from_utf8_lossy(&promoted.stderr));
        println!("promoted {generation} after {:.1?}", begun.elapsed());
        tokio::time::sleep(Duration::from_secs(2)).await; // some are published from there
    }
    stop.store(true, Ordering::Relaxed);
    let rounds: usize = writing.await.unwrap();
    until_published(&mut connection).await;
    for instance in &mut instances {
        instance.stop().await;
    }
    let found = messages(&deployment, &topic);
    let ours = |key: &str| key.starts_with("flow") || key.starts_with("backlog") || key == "of the other";
    let found: Vec<_> = found.into_iter().filter(|message| ours(&message.key)).collect();
    assert_eq!(ordered_by_session(&found).len(), 6_001 + rounds * 30);
    assert_eq!(found.len(), 6_001 + rounds * 30, "none is sent twice");
}
